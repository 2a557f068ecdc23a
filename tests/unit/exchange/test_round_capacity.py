"""What an offer carries in a slot of a round."""

import pytest

from lowtide.exchange.round_capacity import carried, limits_of
from lowtide.market.offer import Capacity
from lowtide.market.quote import Quote
from lowtide.values.instants import MINUTE_US, SECOND_US
from tests.market_builder import book, offer, prices

SLOT = 15 * MINUTE_US


@pytest.mark.parametrize(
    ("limits", "requests"),
    [
        (Capacity(concurrency=2), 6),
        (Capacity(requests_per_minute=3), 45),
        (Capacity(tokens_per_minute=1_000), 30),
        (Capacity(concurrency=2, requests_per_minute=3), 6),
        (Capacity(concurrency=100, requests_per_minute=3, tokens_per_minute=1_000), 30),
        (Capacity(concurrency=0), 0),
    ],
)
def test_the_tightest_limit_says_how_many_requests_a_slot_carries(limits, requests):
    assert carried(limits, SLOT, 300 * SECOND_US, 500) == requests


def test_a_price_may_come_with_tighter_limits_than_the_offer_states():
    quotes = (
        Quote(prices(1), 0, 100, 1, capacity=Capacity(concurrency=3)),
        Quote(prices(1), 100, 200, 1, capacity=Capacity(concurrency=9)),
        Quote(prices(1), 200, 300, 1),
    )
    limited = book(offer("a", quotes=quotes, capacity=Capacity(concurrency=5)), offer("b", quotes=quotes))
    seen = [
        [
            None if (found := limits_of(limited, row, at)) is None else found.concurrency
            for at in (0, 150, 250)
        ]
        for row in (0, 1)
    ]
    assert seen == [[3, 5, 5], [3, 9, None]]
