"""What comes back of a batch: an answer settles its task; what was not done is decided on again, with time left."""

import orjson
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.exchange.award import Candidate, Started
from lowtide.exchange.dispatch import Dispatcher
from lowtide.exchange.expire import expire
from lowtide.exchange.job import Job
from lowtide.exchange.market import Market
from lowtide.exchange.redecide import decide_again, task_of
from lowtide.exchange.settle import Settlement, settle_answer
from lowtide.market.book_lines import prices_from_values
from lowtide.market.states import AttemptState, TaskState
from lowtide.store import attempts, batches, capacity, tasks
from lowtide.store.rows import LostRace
from lowtide.store.tables import Attempt, BatchItem, TaskRow
from lowtide.wire.call import Answer, Failure

GIVEN_BACK = "given_back"
RESCUED = 64
"""Items looked up at a time."""
_log = structlog.get_logger()


def started_of(market: Market, attempt: Attempt) -> Started | None:
    """A stored attempt as one that was just started; None where its offer is no longer in the book."""
    book = market.keeper.book
    row = book.row_of.get(attempt.offer_id)
    if row is None:
        return None
    candidate = Candidate(
        row,
        book.rows[row].offer,
        prices_from_values(orjson.loads(attempt.prices)),
        attempt.bid_nano,
        attempt.worst_nano,
        attempt.price_nano,
        0,
        0,
    )
    return Started(attempt.id, attempt.number, candidate, attempt.started_at)


async def settle_result(market: Market, item: BatchItem, answer: Answer) -> None:
    """Settle an answer that a batch brought. One whose task ended meanwhile, or was rescued, changes nothing."""
    async with market.database.read() as conn:
        attempt = await attempts.get(conn, item.attempt_id)
        row = await tasks.get_task(conn, item.task_id)
    started = None if attempt is None else started_of(market, attempt)
    if row is not None and attempt is not None and started is not None and _under_way(row, attempt):
        spent = Settlement(row, task_of(market, row), started, max(0, market.now() - started.started_at))
        try:
            await settle_answer(market, spent, answer)
        except LostRace:
            _log.info("answer_came_after_the_end", task_id=item.task_id)
    await market.database.writer.write(lambda conn: batches.drop_items(conn, [item.attempt_id]))


async def give_back(market: Market, dispatcher: Dispatcher, item: BatchItem, fault: Failure | None) -> None:
    """End an attempt that a batch did not do, and decide on its task again as of now, without that offer.

    Where the seller may bill it all the same, the attempt says so.
    """
    now = market.now()
    seed = await market.seeds.at(now)

    async def unit(conn: AsyncConnection) -> Job | None:
        await batches.drop_items(conn, [item.attempt_id])
        row, attempt = await tasks.get_task(conn, item.task_id), await attempts.get(conn, item.attempt_id)
        if row is None or attempt is None or not _under_way(row, attempt):
            return None
        await attempts.end_attempt(
            conn,
            attempt.id,
            AttemptState.FAILED,
            outcome=GIVEN_BACK if fault is None else str(fault.kind),
            detail="The batch was not back in time." if fault is None else fault.detail,
            cost_nano=0,
            ended_at=now,
            possibly_billed_twice=fault is not None and fault.possibly_billed,
        )
        await capacity.release(conn, attempt.offer_id)
        if row.complete_by is not None and row.complete_by <= now:
            await expire(conn, row, now)
            return None
        number = market.keeper.book.row_of.get(attempt.offer_id)
        return await decide_again(conn, market, row, now, seed, set() if number is None else {number})

    job = await market.database.writer.write(unit)
    if job is not None:
        dispatcher.start(market, job)


async def rescue_due(market: Market, dispatcher: Dispatcher) -> None:
    """Give back what is not back by its rescue.

    Every node does it, without a word to the seller: neither one that hangs, nor the duty of a node that died, may
    use up the time of the rescue. The batch is cancelled by who follows it.
    """
    while True:
        async with market.database.read() as conn:
            found = await batches.due_for_rescue(conn, market.now(), RESCUED)
        for item in found:
            await give_back(market, dispatcher, item, None)
        if len(found) < RESCUED:
            return


def _under_way(row: TaskRow, attempt: Attempt) -> bool:
    return row.state == TaskState.RUNNING and attempt.state == AttemptState.STARTED
