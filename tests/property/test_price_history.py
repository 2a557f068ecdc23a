"""Price history against a second implementation that looks at every single microsecond."""

from fractions import Fraction
from math import floor

from hypothesis import given
from hypothesis import strategies as st

from lowtide.market.price_history import (
    Bar,
    HeldQuote,
    UnitPrices,
    bars,
    changed_bars,
    filled,
    in_force,
    pieces,
    ticks,
)

BEGIN, END = 24, 96
PRICES = st.one_of(st.none(), st.builds(lambda n: UnitPrices(n, 2 * n, n, n + 1, 7), st.integers(0, 5)))


@st.composite
def quotes(draw: st.DrawFn) -> list[HeldQuote]:
    found = []
    for sequence in range(draw(st.integers(0, 8))):
        start = draw(st.integers(0, 110))
        end = draw(st.one_of(st.none(), st.integers(start, 120)))
        found.append(HeldQuote(start, end, sequence, draw(PRICES)))
    return draw(st.permutations(found))


def at_every_instant(held: list[HeldQuote]) -> dict[int, UnitPrices | None]:
    """What holds at each µs: the standing quote of the highest sequence, looked for anew each time."""
    found: dict[int, UnitPrices | None] = {}
    for at in range(BEGIN, END):
        best = None
        for quote in held:
            stands = quote.start <= at and (quote.end is None or at < quote.end)
            if stands and (best is None or quote.sequence > best.sequence):
                best = quote
        found[at] = None if best is None else best.prices
    return found


def history(held: list[HeldQuote]) -> list[Bar]:
    return pieces(ticks(held, BEGIN, END), END)


def plain_bars(held: list[HeldQuote], step: int) -> list[tuple[object, ...]]:
    """By step: its start, covered µs, and open, high, low, close and mean of each price."""
    prices, found = at_every_instant(held), []
    for start in range(BEGIN // step * step, END, step):
        seen = [prices[at] for at in range(start, start + step) if BEGIN <= at < END]
        priced = [p for p in seen if p is not None]
        spans = []
        for column in zip(*priced, strict=True):
            mean = floor(Fraction(sum(column), len(column)) + Fraction(1, 2))
            spans.append((column[0], max(column), min(column), column[-1], mean))
        found.append((start, len(priced), seen[-1] is not None, tuple(spans)))
    return found


def shown(found: list[Bar]) -> list[tuple[object, ...]]:
    return [
        (
            bar.start,
            bar.covered,
            bar.holds,
            tuple((*span[:4], mean) for span, mean in zip(bar.spans, bar.means, strict=True)),
        )
        for bar in found
    ]


@given(quotes())
def test_ticks_are_the_instants_at_which_another_price_holds(held):
    prices = at_every_instant(held)
    expected = [(at, prices[at]) for at in range(BEGIN, END) if at == BEGIN or prices[at] != prices[at - 1]]
    assert [tuple(tick) for tick in ticks(held, BEGIN, END)] == expected


@given(quotes())
def test_the_quote_in_force_is_the_one_whose_price_holds(held):
    for at, prices in at_every_instant(held).items():
        found = in_force(held, at)
        assert (None if found is None else found.prices) == prices


@given(quotes(), st.integers(1, 100))
def test_bars_of_any_step_are_what_counting_every_microsecond_gives(held, step):
    assert shown(bars(history(held), step)) == plain_bars(held, step)


@given(quotes(), st.sampled_from([2, 3, 4, 6, 12]), st.sampled_from([1, 2, 4, 5, 7]))
def test_bars_made_of_kept_bars_and_quotes_are_the_same_to_the_nano_as_those_of_quotes_alone(
    held, kept_step, times
):
    step, border = kept_step * times, 48
    old = pieces(ticks(held, BEGIN, border), border)
    kept = changed_bars(old, kept_step, None)
    new = pieces(ticks(held, border, END), END)
    joined = filled(kept, None, BEGIN, border) + new
    assert bars(joined, step) == bars(history(held), step)


@given(quotes(), st.sampled_from([(2, 4), (3, 12), (4, 24)]))
def test_bars_compacted_twice_are_those_compacted_once(held, steps):
    fine, coarse = steps
    first = changed_bars(history(held), fine, None)
    assert all(bar.end - bar.start == fine for bar in first)
    again = changed_bars(filled(first, None, BEGIN, END), coarse, None)
    assert again == changed_bars(history(held), coarse, None)


@given(quotes(), st.sampled_from([2, 3, 4]))
def test_kept_bars_are_only_those_in_which_something_changed(held, step):
    kept = {bar.start for bar in changed_bars(history(held), step, None)}
    prices = at_every_instant(held)
    changed = {
        at // step * step
        for at in range(BEGIN, END)
        if prices[at] != (prices[at - 1] if at > BEGIN else None)
    }
    assert kept == changed
