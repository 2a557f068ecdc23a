"""Jobs of many calls on a spot lane that comes and goes: what they cost by the progress rule, and that none is late.

Cost ÷ buying only what nobody takes back. `net only` leaves spot at the last safe instant and not before.
"""

from dataclasses import replace
from random import Random

from lowtide.market.deferral.net import GUARD_US
from lowtide.market.deferral.progress import JobProgress, Pace, leaves_spot, needed_us, return_by
from lowtide.values.instants import SECOND_US

CALLS, JOBS = 400, 40
PACE = Pace(10 * SECOND_US, 10 * SECOND_US, at_once=4)
SPOT_PRICE = 0.25
REST_US = 5 * SECOND_US
SLACKS = (1.25, 1.5, 2.0, 4.0)
SPOT_S = ((300, 100), (300, 300), (100, 300))
"""Mean seconds for which spot is there, and for which it is gone."""

Periods = list[tuple[int, bool]]


def run() -> list[str]:
    """Print a row for each slack and lane; gives what was missed: a late job, or one dearer than safe calls alone."""
    missed = []
    print(f"{CALLS} calls, {PACE.at_once} at once, spot at {SPOT_PRICE:.0%} of the price; {JOBS} jobs a row")
    print("window    spot there / gone     net only   progress rule")
    for slack in SLACKS:
        for there_s, gone_s in SPOT_S:
            shares = []
            for by_line in (False, True):
                ended = [_job(Random(seed), slack, there_s, gone_s, by_line) for seed in range(JOBS)]
                late = sum(not in_time for _, in_time in ended)
                shares.append(sum(cost for cost, _ in ended) / JOBS)
                if late or shares[-1] > 1:
                    missed.append(
                        f"jobs on spot, window × {slack}: {late} late at {shares[-1]:.3f} of the cost"
                    )
            print(f"× {slack:<7} {there_s:>4} s / {gone_s} s {shares[0]:>17.3f} {shares[1]:>14.3f}")
    return missed


def _job(dice: Random, slack: float, there_s: int, gone_s: int, by_line: bool) -> tuple[float, bool]:
    """Cost ÷ that of safe calls alone, and whether it was done in time."""
    complete_by = int(needed_us(CALLS, PACE) * slack) + GUARD_US
    periods = _periods(dice, there_s, gone_s, complete_by)
    now, cost, job = 0, 0.0, JobProgress(CALLS, 0, 0)
    while job.to_do:
        calls = min(job.to_do, PACE.at_once or job.to_do)
        behind = by_line and leaves_spot(job, PACE, complete_by, now)
        if behind or now + PACE.call_us > return_by(job, PACE, complete_by, GUARD_US):
            now, cost = now + PACE.call_us, cost + calls
            job = replace(job, done=job.done + calls, left_spot=behind)
            continue
        job = replace(job, left_spot=False)
        ends, there = next((period for period in periods if now < period[0]), (complete_by, False))
        if not there:
            now += min(REST_US, max(SECOND_US, ends - now))
        elif ends - now >= PACE.call_us:
            now, cost = now + PACE.call_us, cost + calls * SPOT_PRICE
            job = replace(job, done=job.done + calls)
        else:  # taken back: what it did until then is charged, and lost
            cost += calls * SPOT_PRICE * (ends - now) / PACE.call_us
            now = ends
    return cost / CALLS, now <= complete_by


def _periods(dice: Random, there_s: int, gone_s: int, until: int) -> Periods:
    """When spot is there and when it is gone: (end, µs; whether it is there)."""
    found: Periods = []
    at, there = 0, dice.random() * (there_s + gone_s) < there_s
    while at < until:
        at += int(dice.expovariate(1 / (there_s if there else gone_s)) * SECOND_US) + 1
        found.append((at, there))
        there = not there
    return found
