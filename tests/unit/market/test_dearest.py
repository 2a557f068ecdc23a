"""The dearest of several prices."""

from lowtide.market.dearest import dearest
from lowtide.market.quote import Prices, PriceStep
from lowtide.market.usage import Usage, charge

FLAT = Prices(1_000, 4_000, cached_input=100, per_request=3)
LONG = Prices(500, 5_000, steps=(PriceStep(200, input=2_000), PriceStep(900, output=9_000)))


def test_one_price_is_its_own_dearest_and_nothing_is_added_to_it():
    assert dearest([FLAT, FLAT]) is FLAT


def test_every_field_is_the_highest_and_a_cached_price_that_one_lacks_is_its_input_price():
    assert dearest([FLAT, LONG]) == Prices(
        1_000,
        5_000,
        cached_input=500,
        per_request=3,
        steps=(
            PriceStep(200, 2_000, 5_000, 2_000),
            PriceStep(900, 2_000, 9_000, 2_000),
        ),
    )


def test_no_call_of_any_length_costs_more_under_one_of_them():
    most = dearest([FLAT, LONG])
    for tokens in (0, 1, 200, 201, 900, 901, 5_000_000):
        for cached in (0, tokens // 2, tokens):
            usage = Usage(tokens, 1_000_000, cached=cached)
            assert charge(most, usage) >= max(charge(FLAT, usage), charge(LONG, usage))


def test_a_price_that_one_of_them_does_not_know_is_unknown():
    assert dearest([FLAT, Prices(1_000, None)]).output is None
    assert dearest([FLAT, Prices(None, 1)]).input is None
