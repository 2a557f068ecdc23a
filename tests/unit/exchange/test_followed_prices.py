"""An offer's price as a series: means of the slots that are over, gaps filled, the same however it was read."""

from hypothesis import given
from hypothesis import strategies as st

from lowtide.exchange.followed_prices import FollowedPrice
from lowtide.market.price_history import Bar, Tick, UnitPrices, bars, pieces

HOUR = 3_600_000_000
BEGIN = 490_000 * HOUR


def prices(usd: int) -> UnitPrices:
    """Unit prices of which the reference call costs 1,500 nano-USD a unit."""
    return UnitPrices(usd * 10**6, usd * 10**6, 0, 0, 0)


def history(*changes: tuple[float, int | None], until: float) -> list[Bar]:
    """Hourly bars, those without a price left out, of changes at hours after the beginning."""
    ticks = [Tick(BEGIN + int(hour * HOUR), None if usd is None else prices(usd)) for hour, usd in changes]
    return [bar for bar in bars(pieces(ticks, BEGIN + int(until * HOUR)), HOUR) if bar.spans]


def test_slots_that_are_over_count_with_their_mean_and_the_one_that_is_not_with_its_last_price():
    followed = FollowedPrice("push", BEGIN)
    now = followed.take_over(history((0, 2), (1.5, 4), (2.25, 8), until=2.5), BEGIN + int(2.5 * HOUR))
    assert (followed.over, now) == ([2 * 1_500, 3 * 1_500], 8 * 1_500)


def test_the_series_begins_with_the_first_price_and_goes_on_over_gaps():
    followed = FollowedPrice("push", BEGIN - 9 * HOUR)
    read = history((2, 5), (3, None), (6, 7), until=6.5)
    assert followed.take_over(read, BEGIN + int(6.5 * HOUR)) == 7 * 1_500
    assert followed.start == BEGIN + 2 * HOUR
    assert followed.over == [5 * 1_500] * 4


def test_where_no_price_holds_now_there_is_none():
    followed = FollowedPrice("push", BEGIN)
    assert followed.take_over(history((0, 5), (1.2, None), until=1.5), BEGIN + int(1.5 * HOUR)) is None
    assert followed.take_over(history((0, 5), (1, None), until=3), BEGIN + int(3.5 * HOUR)) is None


@given(
    st.dictionaries(st.integers(0, 40), st.one_of(st.none(), st.integers(1, 9)), min_size=1),
    st.lists(st.integers(1, 80), min_size=1, max_size=4),
)
def test_read_on_in_pieces_it_is_what_it_is_read_at_once(changes, looks):
    """Changes by the half hour; looks in quarters of an hour after the beginning."""
    every = sorted((half / 2, usd) for half, usd in changes.items())
    pieced, last = FollowedPrice("push", BEGIN), None
    for quarters in sorted(looks):
        now = BEGIN + quarters * HOUR // 4
        upto = [change for change in every if BEGIN + change[0] * HOUR < now]
        seen = history(*upto, until=quarters / 4) if upto else []
        at_once = FollowedPrice("push", BEGIN)
        newest = at_once.take_over(seen, now)
        last = pieced.take_over([bar for bar in seen if bar.start >= pieced.next_slot], now)
        assert (pieced.over, last) == (at_once.over, newest)


def test_eleven_days_and_a_change_within_twenty_eight_are_enough():
    young, old = FollowedPrice("push", BEGIN, [5] * 263), FollowedPrice("push", BEGIN, [5] * 264)
    assert not young.can_be_forecast(6)
    assert old.can_be_forecast(6)
    assert not old.can_be_forecast(5)
    assert not FollowedPrice("push", BEGIN, [6, *[5] * 672]).can_be_forecast(5)
    assert FollowedPrice("push", BEGIN, [6, *[5] * 671]).can_be_forecast(5)
