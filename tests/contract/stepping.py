"""Markets whose clock is stepped (the fixture `stepped`): when they begin, instants after it, and prices before it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import orjson

from lowtide.store import offers
from lowtide.values.instants import HOUR_US, micros
from tests.contract.served import Served

START = datetime(2026, 11, 25, 8, tzinfo=UTC)


def after(**passed: float) -> str:
    """RFC 3339 of an instant so long after the start, as `timedelta` has it: hours=2, minutes=5."""
    return (START + timedelta(**passed)).isoformat().replace("+00:00", "Z")


async def with_history(service: Served, seller: str, price: Callable[[int], int], days: int) -> str:
    """An offer that was priced anew every hour of so many days; the first hour's price is the last of them.

    `price` gives USD per billion tokens, so many hours after the start.
    """
    offer = await service.offer(seller, "3")
    rows = [
        {
            "id": f"quo_{seller}_{number}",
            "offer_id": offer,
            "source": "push",
            "sequence": 10 + number,
            "valid_from": micros(START) + hour * HOUR_US,
            "prices": orjson.dumps({name: price(hour) * 10**6 for name in ("in", "out")}).decode(),
            "taken_at": micros(START) + hour * HOUR_US,
        }
        for number, hour in enumerate(range(-24 * days, 1))
    ]
    market = service.running.market
    await market.database.writer.write(lambda conn: offers.add_quotes(conn, rows))
    await market.keeper.extend()
    return offer
