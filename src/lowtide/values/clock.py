"""The clock that the shell is given. The core never sees it: it gets instants."""

import asyncio
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Market time. Durations of calls, leases and backoff use real monotonic time instead."""

    def now(self) -> datetime:
        """The market's instant, aware, UTC."""

    async def sleep(self, seconds: float) -> None:
        """Wait that long in market time."""


class SystemClock:
    """Market time is wall time."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
