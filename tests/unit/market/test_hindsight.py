"""The clairvoyant's cost, and what waiting came to by slack class."""

from hypothesis import given
from hypothesis import strategies as st

from lowtide.market.deferral.hindsight import Ended, Standing, by_class, clairvoyant
from lowtide.market.quote import Prices
from lowtide.market.usage import Usage, charge
from lowtide.values.instants import HOUR_US

USAGE = Usage(1_000, 500)
_PRICES = st.one_of(
    st.none(), st.builds(Prices, st.integers(0, 10**9), st.one_of(st.none(), st.integers(0, 10**9)))
)


@st.composite
def standings(draw: st.DrawFn) -> list[Standing]:
    """A few quotes of an offer over twenty instants."""
    found = []
    for sequence in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, 18))
        end = draw(st.one_of(st.none(), st.integers(start + 1, 20)))
        found.append(Standing(start, end, sequence, draw(_PRICES)))
    return found


@given(st.dictionaries(st.sampled_from("abc"), standings()), st.integers(0, 10), st.integers(0, 9))
def test_the_clairvoyant_is_the_least_over_every_instant_and_offer(quotes, begin, length):
    end, costs = begin + length, []
    for offer, standing in quotes.items():
        for at in range(begin, end + 1):
            there = [q for q in standing if q.start <= at and (q.end is None or at < q.end)]
            prices = max(there, key=lambda q: q.sequence).prices if there else None
            if prices is not None and prices.known:
                costs.append((charge(prices, USAGE), at, offer))
    found = clairvoyant(quotes, USAGE, begin, end)
    assert (None if found is None else tuple(found)) == min(costs, default=None)


def ended(hours: float, paid: int, at_once: int | None, best: int | None, *, met: bool = True) -> Ended:
    return Ended(int(hours * HOUR_US), paid, at_once, best, met)


def test_tasks_are_told_by_slack_class_shortest_first():
    classes = by_class([ended(30, 1, 2, 1), ended(2, 1, 2, 1), ended(2.1, 1, 2, 1)])
    assert [(one.hours, one.tasks) for one in classes] == [(2, 1), (6, 1), (None, 1)]


def test_the_captured_share_compares_sums_and_leaves_out_what_is_not_known():
    (found,) = by_class(
        [
            ended(6, 60, 100, 50),
            ended(6, 100, 100, 50),
            ended(6, 0, None, None, met=False),
            ended(6, 9, 9, None),
        ]
    )
    assert (found.tasks, found.compared, found.missed) == (4, 2, 1)
    assert (found.paid_nano, found.immediate_nano, found.clairvoyant_nano) == (160, 200, 100)
    assert found.captured_ppm == 400_000
    assert (found.regret_mean_nano, found.regret_p95_nano, found.dearer) == (30, 50, 0)


def test_where_nothing_could_be_saved_there_is_no_share():
    (found,) = by_class([ended(6, 120, 100, 100)])
    assert (found.captured_ppm, found.dearer) == (None, 1)
