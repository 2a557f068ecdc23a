"""Looking back: once a held task's window is over, what an all-knowing scheduler would have paid for it.

Compared are the offers that its auction at arrival admitted, or would have at another price or a later time, at every
instant from arrival to the latest start, by the quotes that truly stood, for the usage that the task truly had.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import orjson
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.exchange.market import Market
from lowtide.exchange.review import review
from lowtide.market.book_lines import prices_from_values
from lowtide.market.deferral.hindsight import Cheapest, Standing, clairvoyant
from lowtide.market.eligibility import PASSING_WITH_DEADLINE
from lowtide.market.quote import Prices
from lowtide.market.usage import Usage
from lowtide.store import auctions, hindsights, log, price_bars
from lowtide.store import offers as stored_offers
from lowtide.store.tables import HindsightRow, TaskRow
from lowtide.values.canonical import canonical
from lowtide.values.errors import NotFound, SetupError
from lowtide.values.instants import MINUTE_US

BATCH = 50
MOST_OFFERS = 500
"""More are not looked through: those that were the cheapest at arrival are."""
_SETTLED_US = MINUTE_US
_log = structlog.get_logger()


async def note_end(
    conn: AsyncConnection,
    row: TaskRow,
    state: str,
    receipt: Mapping[str, Any],
    usage: Mapping[str, int] | None,
    at: int,
) -> None:
    """Note the end of a task that was held, in the commit that ends it; others are left alone."""
    if not row.hold or row.complete_by is None:
        return
    latest = orjson.loads(row.hold)["latest_start"]
    await hindsights.note(
        conn,
        {
            "task_id": row.id,
            "account_id": row.account_id,
            "auction_id": row.auction_id or "",
            "state": state,
            "arrived_at": row.created_at,
            "complete_by": row.complete_by,
            "latest_start": latest,
            "deadline_met": usage is not None and at <= row.complete_by,
            "usage": None if usage is None else orjson.dumps(dict(usage)).decode(),
            "paid_nano": receipt["paid"],
            "immediate_nano": receipt["immediate"],
            "due_at": max(latest, at) + _SETTLED_US,
        },
    )


async def look_back(market: Market) -> int:
    """Look back on the tasks whose window is over; how many there were."""
    total = 0
    while True:
        async with market.database.read() as conn:
            due = await hindsights.due(conn, market.now(), BATCH)
        for row in due:
            best = None
            if row.usage is not None:
                try:
                    best = await _best(market, row)
                except (NotFound, SetupError) as fault:
                    # Its auction cannot be decided again: its leaf then says that nothing is known.
                    _log.warning("no_hindsight", task_id=row.task_id, cause=fault.detail)

            async def unit(
                conn: AsyncConnection, row: HindsightRow = row, best: Cheapest | None = best
            ) -> None:
                # Another node may have been quicker: one leaf a task.
                if await hindsights.tell(conn, row.task_id, None if best is None else best.cost_nano):
                    await log.append(conn, "hindsight", row.auction_id, _line(row, best))

            await market.database.writer.write(unit)
        total += len(due)
        if len(due) < BATCH:
            return total


def _line(row: HindsightRow, best: Cheapest | None) -> bytes:
    """The log's line: it names the auction by which the task was awarded, and touches no record."""
    return canonical(
        {
            "type": "hindsight",
            "auction_id": row.auction_id,
            "task_id": row.task_id,
            "paid": row.paid_nano,
            "immediate": row.immediate_nano,
            "clairvoyant": None if best is None else best.cost_nano,
            "offer_id": None if best is None else best.offer_id,
            "start": None if best is None else best.at,
            "deadline_met": int(row.deadline_met),
        }
    )


async def _best(market: Market, row: HindsightRow) -> Cheapest | None:
    usage = Usage(*(orjson.loads(row.usage or "{}")[name] for name in _USAGE))
    async with market.database.read() as conn:
        first = await auctions.first_of_task(conn, row.task_id)
    if first is None:
        return None
    seen = await review(market, first)
    spot = seen.replayed.decision.spot
    admitted = np.flatnonzero(np.isin(spot.reason, [0, *map(int, PASSING_WITH_DEADLINE)]))
    cheapest_first = admitted[np.argsort(spot.bids.expected[admitted], kind="stable")][:MOST_OFFERS]
    ids = [seen.book.rows[number].offer.id for number in cheapest_first.tolist()]
    async with market.database.read() as conn:
        quotes = await _standing(conn, ids, row.arrived_at, row.latest_start)
    return clairvoyant(quotes, usage, row.arrived_at, row.latest_start)


_USAGE = ("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens")


async def _standing(
    conn: AsyncConnection, offer_ids: Iterable[str], begin: int, end: int
) -> dict[str, Sequence[Standing]]:
    found: dict[str, Sequence[Standing]] = {}
    for offer in await stored_offers.get_many(conn, list(offer_ids)):
        if offer.price_source is None:
            continue
        taken = await price_bars.quotes_standing(conn, offer.id, offer.price_source, begin, end + 1)
        found[offer.id] = [
            Standing(
                q.begins,
                _until(q.ends, offer.withdrawn_at),
                q.sequence,
                None if q.quarantined else _prices(q.prices),
            )
            for q in taken
        ]
    return found


def _until(end: int | None, withdrawn_at: int | None) -> int | None:
    return min((at for at in (end, withdrawn_at) if at is not None), default=None)


@lru_cache(maxsize=4_096)
def _prices(text: str) -> Prices:
    return prices_from_values(orjson.loads(text))
