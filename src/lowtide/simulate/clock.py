"""A clock that is stepped: market time moves only when told to."""

import asyncio
import heapq
from datetime import UTC, datetime, timedelta


class SteppedClock:
    """Market time for demos and tests. Never goes back."""

    def __init__(self, start: datetime) -> None:
        """Raises ValueError for a start without a zone."""
        if start.tzinfo is None:
            raise ValueError("The start needs a zone.")
        self._now = start.astimezone(UTC)
        self._sleepers: list[tuple[datetime, int, asyncio.Future[None]]] = []
        self._count = 0

    def now(self) -> datetime:
        """The market's instant, aware, UTC."""
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock has been moved that far. With 0 or less, only let others run."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        waiter = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._sleepers, (self._now + timedelta(seconds=seconds), self._count, waiter))
        await waiter

    def next_wakeup(self) -> datetime | None:
        """The earliest instant at which a sleeper wakes, or None."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] if self._sleepers else None

    def advance_to(self, moment: datetime) -> None:
        """Move to an instant and wake whose time has come, in order. An earlier instant changes nothing.

        A sleeper that sleeps again does so from here: to meet each of its instants, step by `next_wakeup`.
        """
        self._now = max(self._now, moment.astimezone(UTC))
        while self._sleepers and self._sleepers[0][0] <= self._now:
            _, _, waiter = heapq.heappop(self._sleepers)
            if not waiter.done():
                waiter.set_result(None)
