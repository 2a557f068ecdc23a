"""Tasks: post, read, list, cancel, estimate, and the stream of one task's changes."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request, Response

from lowtide.api import answers, task_answers, task_views
from lowtide.api.auth import Principal, Reader, Requester
from lowtide.api.context import TheDispatcher, TheMarket
from lowtide.api.contract import told
from lowtide.api.idempotent import TheClaim
from lowtide.api.json_body import ANY_NAME, StrictRoute
from lowtide.api.pages import After, Limit, page
from lowtide.api.streams import EventStream
from lowtide.api.task_body import TaskBody
from lowtide.api.views import when
from lowtide.exchange.cancel import cancel
from lowtide.exchange.estimate import estimate
from lowtide.exchange.place import place
from lowtide.market.states import FINAL, TaskState
from lowtide.store import attempts, events, tasks
from lowtide.store.tables import TaskRow
from lowtide.values.errors import NotFound

router = APIRouter(tags=["tasks"], route_class=StrictRoute)
_LOOK_S = 0.25
_BY_LABEL: dict[str, Any] = {
    "parameters": [
        {
            "name": f"label.{ANY_NAME}",
            "in": "query",
            "required": False,
            "schema": {"type": "string"},
            "description": "tasks whose label NAME has this value, such as label.team=support",
        }
    ]
}


@router.post("/tasks", status_code=201, summary="Post a task", responses=told(task_answers.Task, 201))
async def post_task(
    body: TaskBody, market: TheMarket, dispatcher: TheDispatcher, who: Requester, once: TheClaim
) -> Response:
    """Runs its auction now: it is awarded, held, queued or unfilled. With `wait_s` the answer waits for a final state."""

    async def make() -> dict[str, Any]:
        row = await place(
            market, dispatcher, body.order(who, market.now(), market.rules.max_attempts, once.claim)
        )
        if body.wait_s:
            await _final(market, dispatcher, row, body.wait_s)
        return await shown(market, who, row.id)

    async def again(task_id: str) -> dict[str, Any]:
        if body.wait_s:
            await _final(market, dispatcher, await _own(market, who, task_id), body.wait_s)
        return await shown(market, who, task_id)

    return await once.answer(make, again)


@router.post(
    "/tasks/estimate",
    summary="What a task would cost, without placing it",
    responses=told(task_answers.Estimate),
)
async def estimate_task(body: TaskBody, market: TheMarket, who: Requester) -> dict[str, Any]:
    """The same body; what it would cost now, and held until its deadline."""
    return task_views.estimate(await estimate(market, body.task(who, market.now())))


@router.get(
    "/tasks", summary="List tasks", responses=told(answers.Page[task_answers.Task]), openapi_extra=_BY_LABEL
)
async def list_tasks(
    request: Request,
    market: TheMarket,
    who: Reader,
    state: TaskState | None = None,
    task_type: str | None = None,
    limit: Limit = 50,
    after: After = None,
) -> dict[str, Any]:
    """Newest first; `label.NAME=value` filters by a label."""
    labels = {
        name.removeprefix("label."): value
        for name, value in request.query_params.items()
        if name.startswith("label.")
    }
    async with market.database.read() as conn:
        rows = await tasks.list_tasks(
            conn,
            account_id=who.account_filter,
            state=state,
            task_type=task_type,
            labels=labels,
            after=after,
            limit=limit + 1,
        )
    return page(rows, limit, lambda row: task_views.task(row, [], None), lambda row: row.id)


@router.get("/tasks/{task_id}", summary="Read a task", responses=told(task_answers.Task))
async def read_task(task_id: str, market: TheMarket, who: Reader) -> dict[str, Any]:
    """The task with its hold or award, attempts, result and receipt."""
    return await shown(market, who, task_id)


@router.delete("/tasks/{task_id}", summary="Cancel a task", responses=told(task_answers.Task))
async def cancel_task(
    task_id: str, market: TheMarket, dispatcher: TheDispatcher, who: Requester
) -> dict[str, Any]:
    """Held or queued work at once, running work best effort; what was used is captured, the rest voided."""
    await _own(market, who, task_id)
    await cancel(market, dispatcher, task_id)
    return await shown(market, who, task_id)


@router.get(
    "/tasks/{task_id}/events", summary="A task's changes as a stream (SSE)", response_class=EventStream
)
async def stream_events(
    request: Request,
    task_id: str,
    market: TheMarket,
    who: Reader,
    after: Annotated[int, Query(ge=0, lt=2**63, description="the last event id already seen")] = 0,
) -> EventStream:
    """Every change so far, then each as it comes; the stream ends with the task. `Last-Event-ID` resumes it."""
    await _own(market, who, task_id)
    resumed = request.headers.get("last-event-id", "")
    start = int(resumed) if resumed.isdigit() and len(resumed) < 19 else after

    async def stream() -> AsyncIterator[bytes]:
        seen, quiet = start, time.monotonic()
        while not await request.is_disconnected():
            async with market.database.read() as conn:
                row = await tasks.get_task(conn, task_id)
                found = await events.of_task(conn, task_id, seen)
            for event in found:
                seen, quiet = event.id or seen, time.monotonic()
                data = {**orjson.loads(event.data), "task_id": task_id, "at": when(event.at)}
                yield f"id: {event.id}\nevent: {event.kind}\ndata: ".encode() + orjson.dumps(data) + b"\n\n"
            if row is None or (row.state in FINAL and not found):
                return
            if time.monotonic() - quiet > 15:
                quiet = time.monotonic()
                yield b": alive\n\n"
            if not found:
                await asyncio.sleep(_LOOK_S)

    return EventStream(stream(), headers={"Cache-Control": "no-store"})


async def shown(market: TheMarket, who: Principal, task_id: str) -> dict[str, Any]:
    """A task as its reader sees it."""
    row = await _own(market, who, task_id)
    async with market.database.read() as conn:
        tried = await attempts.of_task(conn, task_id)
        payload = await tasks.payload(conn, task_id) if row.state == "succeeded" else None
    return task_views.task(row, tried, payload)


async def _own(market: TheMarket, who: Principal, task_id: str) -> TaskRow:
    async with market.database.read() as conn:
        row = await tasks.get_task(conn, task_id)
    if row is None or who.account_filter not in (None, row.account_id):
        raise NotFound(f"No task {task_id} of this key's account.", code="unknown_task")
    return row


async def _final(market: TheMarket, dispatcher: TheDispatcher, row: TaskRow, wait_s: float) -> None:
    """Wait for a final state: for the run on this node, and by looking, for what another node may do."""
    ends = time.monotonic() + wait_s
    while (left := ends - time.monotonic()) > 0:
        await dispatcher.finished(row.id, left)
        async with market.database.read() as conn:
            now = await tasks.get_task(conn, row.id)
        if now is None or now.state in FINAL:
            return
        await asyncio.sleep(min(_LOOK_S, max(0.0, left)))
