"""Invariant 12: no deadline that could be met at arrival is missed by holding (MARKET.md sections 9 and 13)."""

from dataclasses import dataclass

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lowtide.market.book import Book
from lowtide.market.record import auction_key
from lowtide.market.task import Task
from tests.market_builder import NOW, Result, book, decide, offer, quote, task

SECOND, MINUTE = 1_000_000, 60_000_000


@dataclass
class Order:
    """A task with a deadline in a market whose prices step at posted instants."""

    market: Book
    wanted: Task
    completion: dict[str, float]


@st.composite
def orders(draw) -> Order:
    rows, completion = [], {}
    for number in range(draw(st.integers(1, 4))):
        edges = sorted(draw(st.sets(st.integers(1, 120), min_size=1, max_size=5)))
        firm = draw(st.integers(0, 3)) > 0
        quotes, start = [], 0
        for sequence, edge in enumerate([*edges, 10_000 if firm else None]):
            until = None if edge is None else NOW + edge * MINUTE
            if draw(st.integers(0, 5)):
                quotes.append(quote(draw(st.integers(1, 100)), start, until, sequence=sequence))
            start = until
        name = f"o{number}"
        rows.append(
            offer(
                name,
                quotes=quotes,
                provider=draw(st.sampled_from(["p", "q"])),
                p99=1_000 * draw(st.integers(1, 1_200)),
                latency=draw(st.integers(1, 900)),
                price_max=draw(st.sampled_from([None, (0, 0, 60), (0, 0, 100)])),
            )
        )
        completion[name] = draw(st.floats(0, 1))
    wanted = task(
        complete_by=NOW + draw(st.integers(1, 240)) * MINUTE,
        max_cost=draw(st.sampled_from([None, 50, 80, 200])),
        value=draw(st.sampled_from([None, 300])),
        per_second=draw(st.sampled_from([0, 0, 1])),
    )
    return Order(book(*rows), wanted, completion)


def follow(order: Order) -> tuple[Result, int, int]:
    """Decide, and again at each release, until it no longer waits: the last decision, its instant, the holds."""
    at, key, holds = NOW, auction_key(bytes(32), "auc_1"), 0
    while True:
        result = decide(order.wanted, order.market, at=at, key=key)
        if result.outcome != "held":
            return result, at, holds
        plan = result.decision.deferral
        assert at < plan.release_at <= plan.latest_start
        at, holds = plan.release_at, holds + 1


def ends(order: Order, name: str, start: int) -> int:
    p99 = order.market.rows[order.market.row_of[name]].conditions.completion_p99_ms
    return start + round(1_000 * p99 * order.completion[name])


@given(orders())
@settings(max_examples=400)
def test_12_what_could_be_met_at_arrival_is_met_after_any_number_of_holds(order):
    at_once = decide(order.wanted, order.market, key=auction_key(bytes(32), "auc_1"))
    assume(at_once.decision.top)
    result, at, _ = follow(order)
    assert result.outcome == "awarded"
    assert ends(order, result.winner, at) <= order.wanted.constraints.complete_by


@given(orders())
@settings(max_examples=200)
def test_12_whenever_a_task_is_held_a_rescue_stands_at_its_latest_start(order):
    key = auction_key(bytes(32), "auc_1")
    at_once = decide(order.wanted, order.market, key=key)
    if at_once.outcome == "held" and at_once.decision.top:
        latest = at_once.decision.deferral.latest_start
        rescue = decide(order.wanted, order.market, at=latest, key=key)
        assert rescue.outcome == "awarded"
        assert ends(order, rescue.winner, latest) <= order.wanted.constraints.complete_by


@given(orders())
@settings(max_examples=200)
def test_a_hold_that_costs_no_time_ends_with_more_surplus_than_running_at_once(order):
    at_once = decide(order.wanted, order.market, key=auction_key(bytes(32), "auc_1"))
    if at_once.outcome == "held" and at_once.decision.top and not order.wanted.objective.per_second_nano:
        result, _, _ = follow(order)
        assert result.decision.winner.score_nano > at_once.decision.top[0].score_nano


def test_the_orders_drawn_do_wait():
    waited = []

    @given(orders())
    @settings(max_examples=200)
    def collect(order):
        waited.append(follow(order)[2])

    collect()
    assert sum(holds > 0 for holds in waited) >= 20
