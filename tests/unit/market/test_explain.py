"""What a decision says of itself when somebody reads it."""

from lowtide.market.explain import explanation
from lowtide.market.task import Lists
from tests.market_builder import KEY, NOW, book, decide, offer, quote, task

SECOND, HOUR = 1_000_000, 3_600_000_000


def told(wanted, market):
    result = decide(wanted, market)
    return explanation(wanted, market, result.inputs, result.decision, NOW, KEY)


def test_a_cheaper_price_that_comes_too_late_to_be_safe_is_named_with_the_latest_start():
    step = NOW + HOUR
    quotes = [quote(100, 0, step, sequence=1), quote(40, step, step + HOUR, sequence=2)]
    market = book(offer("A", quotes=quotes, p99=60_000))
    text = told(task(complete_by=step + 30 * SECOND, max_cost=1_000), market)
    assert "to cost $0.00000004, but to be sure of its deadline the task had to start by" in text


def test_nothing_is_said_of_later_prices_where_the_task_cannot_wait():
    step = NOW + HOUR
    quotes = [quote(100, 0, step, sequence=1), quote(40, step, step + HOUR, sequence=2)]
    assert "deadline" not in told(task(max_cost=1_000), book(offer("A", quotes=quotes)))


def test_a_model_that_nobody_lists_is_named():
    text = told(task(lists=Lists(models=("opus-99",))), book(offer("A", 100)))
    assert text == "No offer of opus-99 is in the book, and the task admits nothing else."


def crowded():
    """A book of three of m and five others that the task leaves out, and one of m without a quote."""
    others = [offer(f"X{number}", 10, model="x") for number in range(5)]
    return book(
        *others,
        offer("mute", quotes=(), model="m"),
        offer("dear", 10_000, model="m"),
        offer("won", 10, model="m"),
    )


def test_losers_stand_by_how_far_they_came_and_what_the_task_left_out_stands_last():
    result = decide(task(lists=Lists(models=("m",)), max_cost=1_000), crowded())
    assert [view.loss_reason for view in result.views()] == [
        None,
        "over_budget",
        "no_valid_quote",
        *["not_allowed"] * 5,
    ]


def test_the_rarest_late_reason_is_named_before_the_many_early_ones():
    text = told(task(lists=Lists(models=("m",)), max_cost=1_000), crowded())
    assert text.endswith(" Ruled out: 1 over_budget, 1 no_valid_quote, 5 not_allowed.")
