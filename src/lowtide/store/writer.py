"""Group commit: units of work that wait together share one transaction; each is answered after its commit."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from lowtide.store.rows import LOCK_GROUP, take_lock
from lowtide.values.errors import Unavailable

R = TypeVar("R")
Unit = Callable[[AsyncConnection], Awaitable[R]]

GROUP = 64
"""The most units that share a commit."""
RETRY_DELAYS_S = (0.02, 0.1, 0.5)
_PASSING = frozenset({"40001", "40P01", "55P03", "57P01", "57P03"})
"""PostgreSQL's serialization failure, deadlock, lock not available, shutting down, starting up."""


@dataclass(slots=True, eq=False)
class _Waiting:
    unit: Unit[Any]
    answer: asyncio.Future[Any]


@dataclass(slots=True)
class _Failed:
    fault: BaseException


class _CommitLost(Exception):
    """The connection broke during COMMIT: whether it stands is unknown, so it must not be run again."""

    def __init__(self, fault: BaseException) -> None:
        super().__init__(str(fault))
        self.fault = fault


class Writer:
    """The one writer of a node. A unit may be run again after a fault: it touches only its connection."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._queue: asyncio.Queue[_Waiting | None] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def start(self) -> None:
        """Begin to take units."""
        self._task = asyncio.create_task(self._serve(), name="writer")

    async def write(self, unit: Unit[R]) -> R:
        """Run a unit inside its own savepoint and give its result once it is committed.

        What the unit raises comes back here, and nothing of it stays. Raises the database's error where the
        commit fails, Unavailable after close(). A caller that is cancelled may or may not have written.
        """
        if self._closed or self._task is None:
            raise Unavailable("The market is shutting down. Try again.", code="shutting_down")
        waiting = _Waiting(unit, asyncio.get_running_loop().create_future())
        self._queue.put_nowait(waiting)
        result: R = await waiting.answer
        return result

    async def close(self) -> None:
        """Refuse new units, finish those that wait, and stop."""
        self._closed = True
        if self._task is not None:
            self._queue.put_nowait(None)
            await asyncio.wait([self._task])

    async def _serve(self) -> None:
        group: list[_Waiting] = []
        try:
            while (first := await self._queue.get()) is not None:
                group = [first]
                ending = self._gather(group)
                await self._commit([waiting for waiting in group if not waiting.answer.done()])
                if ending:
                    return
        finally:
            self._abandon(group)

    def _gather(self, group: list[_Waiting]) -> bool:
        """Take what waits beside the first; True where the end of the queue was met."""
        while len(group) < GROUP and not self._queue.empty():
            waiting = self._queue.get_nowait()
            if waiting is None:
                return True
            group.append(waiting)
        return False

    def _abandon(self, group: list[_Waiting]) -> None:
        self._closed = True
        while not self._queue.empty():
            if (waiting := self._queue.get_nowait()) is not None:
                group.append(waiting)
        for waiting in group:
            if not waiting.answer.done():
                waiting.answer.set_exception(
                    Unavailable("The writer was stopped. Try again.", code="shutting_down")
                )

    async def _commit(self, group: list[_Waiting]) -> None:
        """Commit a group and answer each; after a passing fault its units are tried again, one by one."""
        for delay in (*RETRY_DELAYS_S, None):
            try:
                outcomes = await self._transact(group)
            except _CommitLost as lost:
                outcomes = [_Failed(lost.fault)] * len(group)
            except Exception as fault:
                if delay is not None and _passes(fault):
                    await asyncio.sleep(delay * random.uniform(0.5, 1))
                    if len(group) == 1:
                        continue
                    for waiting in group:
                        await self._commit([waiting])
                    return
                outcomes = [_Failed(fault)] * len(group)
            for waiting, outcome in zip(group, outcomes, strict=True):
                _tell(waiting, outcome)
            return

    async def _transact(self, group: list[_Waiting]) -> list[Any]:
        async with self._engine.connect() as conn:
            transaction = await conn.begin()
            try:
                # One group at a time in the fleet, as SQLite has it: groups that touch the same accounts
                # and offers in another order would deadlock.
                await take_lock(conn, LOCK_GROUP)
                outcomes = await self._run_all(conn, group)
            except BaseException as fault:
                await transaction.rollback()
                if isinstance(fault, asyncio.CancelledError) and not _is_stopping():
                    return [_Failed(fault)] * len(group)
                raise
            try:
                await transaction.commit()
            except BaseException as fault:
                # SQLite may still have the transaction open: such a connection must not go back to the pool.
                await conn.invalidate()
                if isinstance(fault, DBAPIError) and fault.connection_invalidated:
                    raise _CommitLost(fault) from fault
                raise
            return outcomes

    async def _run_all(self, conn: AsyncConnection, group: list[_Waiting]) -> list[Any]:
        """Run the units; one that is alone needs no savepoint, for its fault undoes the whole transaction."""
        if len(group) == 1:
            return [await group[0].unit(conn)]
        outcomes = []
        for waiting in group:
            outcomes.append(await self._run(conn, waiting.unit))
            # Statements on SQLite may never have yielded: others get their turn between units.
            await asyncio.sleep(0)
        return outcomes

    async def _run(self, conn: AsyncConnection, unit: Unit[Any]) -> Any:
        await conn.exec_driver_sql("SAVEPOINT unit")
        try:
            result = await unit(conn)
        except BaseException as fault:
            if _passes(fault) or _is_stopping():
                raise
            await conn.exec_driver_sql("ROLLBACK TO SAVEPOINT unit")
            result = _Failed(fault)
        await conn.exec_driver_sql("RELEASE SAVEPOINT unit")
        return result


def _tell(waiting: _Waiting, outcome: Any) -> None:
    if waiting.answer.done():
        return
    if not isinstance(outcome, _Failed):
        waiting.answer.set_result(outcome)
    elif isinstance(outcome.fault, asyncio.CancelledError):
        waiting.answer.cancel()
    else:
        waiting.answer.set_exception(outcome.fault)


def _is_stopping() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _passes(fault: BaseException) -> bool:
    """Whether the whole transaction failed for a cause that may be gone in a moment."""
    if not isinstance(fault, DBAPIError):
        return False
    if fault.connection_invalidated:
        return True
    return getattr(fault.orig, "sqlstate", None) in _PASSING or "database is locked" in str(fault.orig)
