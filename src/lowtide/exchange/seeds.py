"""The hourly seeds that break ties, kept in the store and here while their hour lasts."""

from lowtide.market.record import epoch_of
from lowtide.store import seeds
from lowtide.store.database import Database

_KEPT = 48


class Seeds:
    """Seeds by hour; made on first use by whichever node comes first."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[int, bytes] = {}

    async def at(self, as_of: int) -> bytes:
        """The seed (32 bytes) of the hour that contains an instant (µs)."""
        hour = epoch_of(as_of)
        if hour not in self._known:
            row = await self._database.writer.write(lambda conn: seeds.seed_for(conn, hour))
            if len(self._known) >= _KEPT:
                self._known.pop(min(self._known))
            self._known[hour] = row.seed
        return self._known[hour]
