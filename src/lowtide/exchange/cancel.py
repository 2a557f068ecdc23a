"""Cancelling: held or queued work at once; running work as soon as its call can be stopped."""

from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.exchange.dispatch import Dispatcher
from lowtide.exchange.expire import void
from lowtide.exchange.market import Market
from lowtide.market.states import FINAL, TaskState
from lowtide.store import tasks
from lowtide.store.rows import LostRace
from lowtide.store.tables import TaskRow
from lowtide.values.errors import Conflict, NotFound

_TRIES = 5


async def cancel(market: Market, dispatcher: Dispatcher, task_id: str) -> TaskRow:
    """Cancel a task and free what was set aside for it. Cancelling a cancelled task changes nothing.

    Raises NotFound, and Conflict (`task_ended`) where the task has ended otherwise.
    """
    for _ in range(_TRIES):
        async with market.database.read() as conn:
            row = await tasks.get_task(conn, task_id)
        if row is None:
            raise NotFound(f"No task {task_id}.")
        if row.state == TaskState.CANCELLED:
            return row
        if row.state in FINAL:
            raise Conflict(
                f"Task {task_id} has already {row.state}. Only a task that waits or runs can be cancelled.",
                code="task_ended",
            )
        try:
            await market.database.writer.write(lambda conn: _cancel(conn, market, row))  # noqa: B023
        except LostRace:
            continue
        dispatcher.cancel(task_id)
        async with market.database.read() as conn:
            return await tasks.get_task(conn, task_id) or row
    raise Conflict(f"Task {task_id} keeps changing. Try again.", code="lost_race")


async def _cancel(conn: AsyncConnection, market: Market, row: TaskRow) -> None:
    await void(conn, row, TaskState.CANCELLED, "cancelled", market.now())
