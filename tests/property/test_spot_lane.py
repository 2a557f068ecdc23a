"""Never late, whatever is taken back: single tasks by decisions alone, and jobs of many calls by the progress rule."""

from dataclasses import replace
from random import Random

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lowtide.market.deferral.net import GUARD_US
from lowtide.market.deferral.progress import JobProgress, Pace, leaves_spot, needed_us, return_by
from lowtide.market.record import AuctionIds, auction_key, record_line
from lowtide.market.replay import replay
from tests.market_builder import NOW, book, decide, offer, quote, task

S, MINUTE = 1_000_000, 60_000_000
SPOT, KEY = ("spot",), auction_key(bytes(32), "auc_1")
REST_US = 5 * S
WRITE_US = S // 2
"""What it takes at most to write a take-back and decide again."""


@st.composite
def markets(draw):
    rows = []
    for number in range(draw(st.integers(1, 3))):
        quotes, start = [], 0
        for sequence, edge in enumerate(sorted(draw(st.sets(st.integers(1, 90), max_size=3)))):
            until = NOW + edge * MINUTE
            quotes.append(quote(draw(st.integers(50, 200)), start, until, sequence=sequence))
            start = until
        quotes.append(quote(draw(st.integers(50, 200)), start, NOW + 10_000 * MINUTE, sequence=9))
        p99 = 1_000 * draw(st.integers(1, 300))
        provider = draw(st.sampled_from(["p", "q"]))
        rows.append(offer(f"safe{number}", quotes=quotes, provider=provider, p99=p99, latency=100))
    for number in range(draw(st.integers(1, 3))):
        p99 = 1_000 * draw(st.integers(1, 300))
        provider = draw(st.sampled_from(["p", "r"]))
        price = draw(st.integers(1, 150))
        rows.append(offer(f"spot{number}", price, lane="spot", provider=provider, p99=p99, latency=100))
    wanted = task(
        complete_by=NOW + draw(st.integers(1, 90 * 60)) * S,
        max_cost=draw(st.sampled_from([None, 120, 200, 250])),
        value=draw(st.sampled_from([None, 400])),
        per_second=draw(st.sampled_from([0, 0, 1])),
    )
    return book(*draw(st.permutations(rows))), wanted


def carried(market, wanted, dice: Random, *, tricky: bool = True):
    """Follow a task through its holds and every take-back: the offers that ran, and when the last was done at the latest."""
    at, resting, times, ran = NOW, {}, {}, []
    while True:
        now_resting = {name: until for name, until in resting.items() if until > at}
        result = decide(wanted, market, at=at, key=KEY, preemptible=SPOT, resting=now_resting)
        if result.outcome == "held":
            plan = result.decision.deferral
            assert at < plan.release_at <= plan.latest_start
            at = plan.release_at
            continue
        assert result.outcome == "awarded", (result.outcome, ran)
        ran.append(result.winner)
        row = market.rows[market.row_of[result.winner]]
        ends = at + 1_000 * row.conditions.completion_p99_ms
        net = result.decision.spot.net
        if row.offer.lane != "spot":
            return ran, ends
        assert net is not None, "a spot call that nothing catches"
        # Any time up to when it is given up; mostly then, which is worst.
        at = net.return_by if tricky and dice.random() < 0.7 else dice.randint(at + 1, net.return_by)
        at += dice.randrange(WRITE_US)
        times[result.winner] = times.get(result.winner, 0) + 1
        resting[result.winner] = at + REST_US * 2 ** (times[result.winner] - 1)


@given(markets(), st.integers(0, 2**32))
@settings(max_examples=600)
def test_what_a_safe_offer_could_have_done_in_time_at_arrival_is_in_time_whatever_is_taken_back(drawn, seed):
    market, wanted = drawn
    safe = decide(wanted, market, closed_lanes=SPOT, key=KEY)
    assume(safe.decision.top)
    _, done = carried(market, wanted, Random(seed))
    assert done <= wanted.constraints.complete_by


def test_the_tasks_drawn_are_taken_back_and_rescued():
    counts = []

    @given(markets(), st.integers(0, 2**32))
    @settings(max_examples=200)
    def collect(drawn, seed):
        market, wanted = drawn
        if decide(wanted, market, closed_lanes=SPOT, key=KEY).decision.top:
            counts.append(len(carried(market, wanted, Random(seed), tricky=False)[0]))

    collect()
    assert sum(ran > 1 for ran in counts) >= 20
    assert max(counts) <= 30


@given(markets(), st.integers(0, 60), st.integers(0, 60))
@settings(max_examples=150)
def test_any_decision_over_a_net_replays(drawn, done, rest):
    market, wanted = drawn
    job = JobProgress(60, done, NOW - 30 * MINUTE, left_spot=done % 2 == 0)
    spots = {row.offer.id: NOW + rest * S for row in market.rows if row.offer.lane == "spot"}
    result = decide(wanted, market, key=KEY, preemptible=SPOT, resting=spots, job=job)
    line = record_line(AuctionIds("auc_1", "task_1", NOW), wanted, market, result.inputs, result.decision)
    assert replay(line, market, bytes(32)).identical


@given(markets())
@settings(max_examples=150)
def test_spot_lanes_change_nothing_for_tasks_without_a_deadline(drawn):
    market, wanted = drawn
    free = replace(wanted, constraints=replace(wanted.constraints, complete_by=None))
    one, other = (decide(free, market, key=KEY, preemptible=lanes) for lanes in (SPOT, ()))
    assert (one.outcome, one.winner, one.ranking) == (other.outcome, other.winner, other.ranking)


@st.composite
def jobs(draw):
    pace = Pace(
        draw(st.integers(1, 60)) * S, draw(st.integers(1, 60)) * S, draw(st.sampled_from([None, 1, 2, 5]))
    )
    total = draw(st.integers(1, 60))
    slack = draw(st.integers(0, 3_600)) * S
    return total, pace, NOW + needed_us(total, pace) + GUARD_US + slack, draw(st.integers(1, 60)) * S


def run_job(total: int, pace: Pace, complete_by: int, spot_us: int, dice: Random, share: float):
    """Rounds of calls, on spot where the rule lets them; there the worst may happen. Ends, and calls bought by lane."""
    now, job, bought = NOW, JobProgress(total, 0, NOW), {"spot": 0, "safe": 0}
    while job.to_do:
        at_once = min(job.to_do, pace.at_once or job.to_do)
        back = return_by(job, pace, complete_by, GUARD_US)
        behind = leaves_spot(job, pace, complete_by, now)
        if now + spot_us > back or behind:
            bought["safe"] += at_once
            now += pace.call_us
            job = replace(job, done=job.done + at_once, left_spot=behind)
            continue
        bought["spot"] += at_once
        kept = sum(dice.random() >= share for _ in range(at_once))
        now = now + spot_us if kept else dice.choice([back, now + spot_us, now + 1])
        job = replace(job, done=job.done + kept, left_spot=False)
    return now, bought


@given(jobs(), st.integers(0, 2**32), st.sampled_from([0.1, 0.5, 1.0]))
@settings(max_examples=300)
def test_a_job_that_safe_calls_could_finish_in_time_is_finished_in_time_whatever_is_taken_back(
    job, seed, share
):
    total, pace, complete_by, spot_us = job
    ends, _ = run_job(total, pace, complete_by, spot_us, Random(seed), share)
    assert ends <= complete_by


def test_a_job_with_slack_runs_mostly_on_spot_and_buys_more_safe_calls_the_more_is_taken_back():
    safe = []
    for share in (0.0, 0.2, 0.5, 0.9):
        pace = Pace(10 * S, 10 * S, 4)
        ends, bought = run_job(400, pace, NOW + 3_000 * S, 10 * S, Random(1), share)
        assert ends <= NOW + 3_000 * S
        safe.append(bought["safe"])
    assert safe[0] == 0
    assert safe[1] < safe[2] < safe[3] <= 400
