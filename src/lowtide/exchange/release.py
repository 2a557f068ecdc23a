"""Releasing: what waits is decided on again, when its time has come or when the book has changed."""

import asyncio
import time
from collections.abc import Callable

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.exchange.deciding import inputs_for, with_usual_output
from lowtide.exchange.dispatch import Dispatcher
from lowtide.exchange.held import changed_rows
from lowtide.exchange.job import Job
from lowtide.exchange.live import Asked
from lowtide.exchange.market import Market
from lowtide.exchange.redecide import decide_again, task_of
from lowtide.exchange.task_class import class_of
from lowtide.market.book import Book
from lowtide.market.deferral.screening import concerned
from lowtide.market.spot import Inputs, Spot, clear
from lowtide.market.states import TaskState
from lowtide.market.task import Task
from lowtide.store import tasks
from lowtide.store.tables import TaskRow
from lowtide.values.instants import SECOND_US

MOST_ASKED = 256
"""Tasks that bidders are asked for in one look at what waits; the others' turn comes at the next."""
BATCH = 32
"""Tasks decided on in one commit of a sweep."""


async def release_due(market: Market, dispatcher: Dispatcher) -> int:
    """Decide again on held tasks whose release is due, and on queued ones whose pause is over; how many there were."""
    now, total = market.now(), 0
    seed = await market.seeds.at(now)

    async def unit(conn: AsyncConnection) -> tuple[int, list[Job], list[TaskRow]]:
        due = [*await tasks.due_held(conn, now, BATCH), *await tasks.due_again(conn, now, BATCH)]
        to_ask = list[TaskRow]()
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


async def review_waiting(market: Market, dispatcher: Dispatcher, before: Book) -> int:
    """After the book has changed: decide again on what that can alter; how many were released.

    Of the queued those that a changed row could serve, of the held those that screening names.
    """
    book, served = market.keeper.book, dict[Task, bool]()
    changed = frozenset(changed_rows(before, book))

    def could_be_served(row: TaskRow) -> bool:
        like = class_of(task_of(market, row))
        if like not in served:
            served[like] = concerned(like, before, book, changed)
        return served[like]

    released = 0
    await screen_held(market)
    async with market.database.read() as conn:
        queued = await tasks.any_queued(conn)
    if queued:
        released = await _review(market, dispatcher, only=could_be_served)
    return released + await review_named(market, dispatcher)


async def screen_held(market: Market) -> int:
    """Name the holds that the book as it is now can alter; how many these are."""

    def inputs_of(like: Task) -> tuple[Task, Inputs]:
        return with_usual_output(market, like), inputs_for(market, like)

    return await market.held.screen(market.keeper.book, inputs_of, market.now())


async def press_held(market: Market, every_s: float) -> int:
    """Name the holds that have to start before this is looked at again; how many these are."""
    now = market.now()

    def spot_of(task: Task) -> Spot:
        book = market.keeper.book
        return clear(with_usual_output(market, task), book, inputs_for(market, task), now, bytes(32))

    return await market.held.press(spot_of, now, int(2 * every_s * SECOND_US))


async def review_named(market: Market, dispatcher: Dispatcher) -> int:
    """Decide again on the holds that were named; how many were released."""
    now, released, asked, full = market.now(), 0, 0, set[int]()
    seed, unasked = await market.seeds.at(now), list[str]()
    while names := market.held.take_due(BATCH):

        async def unit(
            conn: AsyncConnection, names: list[str] = names
        ) -> tuple[int, list[Job], list[TaskRow], list[TaskRow]]:
            version = market.keeper.book.version
            jobs, to_ask, found = [], list[TaskRow](), await tasks.waiting_among(conn, names)
            for row in found:
                job = await decide_again(conn, market, row, now, seed, full, to_ask)
                if job is not None:
                    jobs.append(job)
            versions = {row.id: row.version for row in found}
            now_waiting = await tasks.waiting_among(conn, versions)
            same = [
                row for row in now_waiting if row.version == versions[row.id] and row.state == TaskState.HELD
            ]
            return version, jobs, to_ask, same

        try:
            version, jobs, to_ask, same = await market.database.writer.write(unit)
        except BaseException:
            market.held.decide_soon(names)
            raise
        for row in same:
            market.held.keep(row.id, row.decided_as, row.hold or "", market.keeper.book, version)
        for job in jobs:
            dispatcher.start(market, job)
        news = [row for row in to_ask if not market.bidders.asked_lately(row.id)]
        news = news[: max(0, MOST_ASKED - asked)]
        asked += len(news)
        unasked += {row.id for row in to_ask} - {row.id for row in news}
        released += len(jobs) + await release_asked(market, dispatcher, news)
    market.held.decide_soon(unasked)
    return released


async def review_queued(market: Market, dispatcher: Dispatcher, *, to_the_end: bool = True) -> int:
    """After places were freed: decide again on what is queued, the oldest first; how many were released.

    Of each batch those go first that have to start or end first: a slot that is kept for a task comes before its end.

    Unless it goes `to_the_end`, it stops at the first batch of which nothing could be released: a long queue is not
    decided on anew for every place.
    """
    async with market.database.read() as conn:
        if not await tasks.any_queued(conn):
            return 0
    return await _review(market, dispatcher, to_the_end=to_the_end)


async def _review(
    market: Market,
    dispatcher: Dispatcher,
    *,
    to_the_end: bool = True,
    only: Callable[[TaskRow], bool] | None = None,
) -> int:
    now, released, asked, full = market.now(), 0, 0, set[int]()
    seed = await market.seeds.at(now)
    after: str | None = ""
    while after is not None:

        async def unit(
            conn: AsyncConnection, start: str = after
        ) -> tuple[str | None, list[Job], list[TaskRow]]:
            found, to_ask = await tasks.queued(conn, start, BATCH, paused=to_the_end), list[TaskRow]()
            nets = market.held.nets
            in_order = sorted(found, key=lambda row: nets.starts_by(row.id, row.expires_at or now))
            jobs = [
                job
                for row in in_order
                if (only is None or only(row))
                and (job := await decide_again(conn, market, row, now, seed, full, to_ask)) is not None
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
