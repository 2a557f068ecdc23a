"""Releasing: what waits is decided on again, when its time has come or when the book has changed."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.exchange.dispatch import Dispatcher, Job
from lowtide.exchange.live import Asked
from lowtide.exchange.market import Market
from lowtide.exchange.place import inputs_for
from lowtide.exchange.redecide import decide_again, task_of
from lowtide.store import tasks
from lowtide.store.tables import TaskRow

MOST_ASKED = 256
"""Tasks that bidders are asked for in one look at what waits; the others' turn comes at the next."""
BATCH = 32
"""Tasks decided on in one commit of a sweep."""


async def release_due(market: Market, dispatcher: Dispatcher) -> int:
    """Decide again on held tasks whose release is due; how many there were."""
    now, total = market.now(), 0
    seed = await market.seeds.at(now)

    async def unit(conn: AsyncConnection) -> tuple[int, list[Job], list[TaskRow]]:
        due, to_ask = await tasks.due_held(conn, now, BATCH), list[TaskRow]()
        jobs = [
            job
            for row in due
            if (job := await decide_again(conn, market, row, now, seed, to_ask=to_ask)) is not None
        ]
        return len(due), jobs, to_ask

    while True:
        found, jobs, to_ask = await market.database.writer.write(unit)
        for job in jobs:
            dispatcher.start(market, job)
        await release_asked(market, dispatcher, to_ask)
        total += found
        if found < BATCH:
            return total


async def review_waiting(market: Market, dispatcher: Dispatcher) -> int:
    """After the book has changed: decide again on all that is queued or held; how many were released."""
    queued = await _review(market, dispatcher, tasks.queued)
    return queued + await _review(market, dispatcher, tasks.held)


async def review_queued(market: Market, dispatcher: Dispatcher, *, to_the_end: bool = True) -> int:
    """After places were freed: decide again on what is queued, the oldest first; how many were released.

    Unless it goes `to_the_end`, it stops at the first batch of which nothing could be released: a long queue is not
    decided on anew for every place.
    """
    async with market.database.read() as conn:
        if not await tasks.any_queued(conn):
            return 0
    return await _review(market, dispatcher, tasks.queued, to_the_end=to_the_end)


async def _review(
    market: Market,
    dispatcher: Dispatcher,
    waiting: Callable[[AsyncConnection, str, int], Awaitable[list[TaskRow]]],
    *,
    to_the_end: bool = True,
) -> int:
    now, released, asked, full = market.now(), 0, 0, set[int]()
    seed = await market.seeds.at(now)
    after: str | None = ""
    while after is not None:

        async def unit(
            conn: AsyncConnection, start: str = after
        ) -> tuple[str | None, list[Job], list[TaskRow]]:
            found, to_ask = await waiting(conn, start, BATCH), list[TaskRow]()
            jobs = [
                job
                for row in found
                if (job := await decide_again(conn, market, row, now, seed, full, to_ask)) is not None
            ]
            return found[-1].id if len(found) == BATCH else None, jobs, to_ask

        after, jobs, to_ask = await market.database.writer.write(unit)
        for job in jobs:
            dispatcher.start(market, job)
        news = [row for row in to_ask if not market.bidders.asked_lately(row.id)]
        news = news[: max(0, MOST_ASKED - asked)]
        asked += len(news)
        begun = len(jobs) + await release_asked(market, dispatcher, news)
        released += begun
        if not begun and not to_the_end:
            break
    return released


async def release_asked(market: Market, dispatcher: Dispatcher, rows: list[TaskRow]) -> int:
    """Ask bidders for tasks that are about to be released, and decide on these again; how many were released.

    Nothing is locked while they are asked: a task that has changed meanwhile is left alone.
    """
    if not rows:
        return 0
    now, began = market.now(), time.monotonic()
    answers = await asyncio.gather(*(_ask(market, row, now) for row in rows))
    by_task = {row.id: asked for row, asked in zip(rows, answers, strict=True)}
    later = now + int((time.monotonic() - began) * 1_000_000)
    seed = await market.seeds.at(later)

    async def unit(conn: AsyncConnection) -> list[Job]:
        full, jobs = set[int](), []
        for row in await tasks.waiting_among(conn, by_task):
            job = await decide_again(conn, market, row, later, seed, full, asked=by_task[row.id])
            if job is not None:
                jobs.append(job)
        return jobs

    jobs = await market.database.writer.write(unit)
    for job in jobs:
        dispatcher.start(market, job)
    return len(jobs)


async def _ask(market: Market, row: TaskRow, now: int) -> Asked | None:
    task, shared = task_of(market, row), None
    if orjson.loads(row.posted).get("share_input"):
        async with market.database.read() as conn:
            payload = await tasks.payload(conn, row.id)
        shared = None if payload is None else orjson.loads(payload.input)
    return await market.bidders.ask(task, market.keeper.book, inputs_for(market, task), now, shared)
