"""What waiting has come to: the tasks looked back on, by slack class, and by day and slack class."""

from dataclasses import dataclass

from lowtide.exchange.market import Market
from lowtide.market.deferral.hindsight import Ended, Waiting, by_class
from lowtide.store import hindsights
from lowtide.store.hindsights import Pending
from lowtide.store.tables import HindsightRow
from lowtide.values.instants import DAY_US


@dataclass(frozen=True, slots=True)
class Savings:
    """Slack classes over the whole time, and for each day (µs of its start, UTC).

    `pending` are tasks that have ended and were not looked back on yet.
    """

    classes: list[Waiting]
    days: list[tuple[int, list[Waiting]]]
    pending: Pending


async def savings_of(market: Market, begin: int, end: int, account_id: str | None = None) -> Savings:
    """What waiting came to for tasks that arrived in [begin, end), µs, of one account or of all."""
    async with market.database.read() as conn:
        rows = await hindsights.arrived_between(conn, begin, end, account_id)
        pending = await hindsights.pending(conn, begin, end, account_id)
    days: dict[int, list[Ended]] = {}
    for row in rows:
        days.setdefault(row.arrived_at // DAY_US * DAY_US, []).append(_ended(row))
    return Savings(
        by_class(_ended(row) for row in rows),
        [(day, by_class(found)) for day, found in days.items()],
        pending,
    )


def _ended(row: HindsightRow) -> Ended:
    served = row.usage is not None
    return Ended(
        row.complete_by - row.arrived_at,
        row.paid_nano,
        row.immediate_nano if served else None,
        row.clairvoyant_nano if served else None,
        row.deadline_met,
    )
