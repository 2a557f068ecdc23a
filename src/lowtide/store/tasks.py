"""Tasks: guarded changes of state, the sweeps' claims, and reading."""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import orjson
from sqlalchemy import ColumnElement, bindparam, cast, func, or_, select, union_all, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.market.states import FINAL, TaskState, check_transition
from lowtide.store import rows
from lowtide.store.tables import IS_HELD, IS_LEASED, IS_QUEUED, Attempt, TaskPayload, TaskRow

_TASKS = rows.table_of(TaskRow)
_PAYLOADS = rows.table_of(TaskPayload)
_GUARDED = update(_TASKS).where(
    _TASKS.c.id == bindparam("the_id"),
    _TASKS.c.state == bindparam("the_state"),
    _TASKS.c.version == bindparam("the_version"),
)
_PAYLOAD_OF = update(_PAYLOADS).where(_PAYLOADS.c.task_id == bindparam("the_task"))


async def add_task(conn: AsyncConnection, task: Mapping[str, Any], task_input: str) -> None:
    """Write a new task and its payload. Raises IllegalTransition where no task may begin in its state."""
    check_transition(None, task["state"])
    await rows.insert(conn, TaskRow, [task])
    await rows.insert(conn, TaskPayload, [{"task_id": task["id"], "input": task_input}])


async def move(
    conn: AsyncConnection, task_id: str, from_state: str, from_version: int, to_state: str, **columns: Any
) -> int:
    """Change a task's state and columns; gives its new version.

    Raises IllegalTransition for a move that the table does not have, and LostRace where the task is no longer
    in `from_state` at `from_version`.
    """
    check_transition(from_state, to_state)
    return await _guarded(
        conn, task_id, from_state, from_version, {**columns, "state": str(TaskState(to_state))}
    )


async def touch(conn: AsyncConnection, task_id: str, state: str, version: int, **columns: Any) -> int:
    """Change columns of a task that stays in its state; gives its new version. Raises LostRace as `move`."""
    return await _guarded(conn, task_id, state, version, columns)


async def _guarded(
    conn: AsyncConnection, task_id: str, state: str, version: int, columns: Mapping[str, Any]
) -> int:
    guard = {"the_id": task_id, "the_state": str(state), "the_version": version}
    if await rows.changed(conn, _GUARDED, {**columns, **guard, "version": version + 1}) == 0:
        raise rows.LostRace(f"Task {task_id} is no longer {state} at version {version}. Load it again.")
    return version + 1


async def due_held(conn: AsyncConnection, now_us: int, limit: int) -> list[TaskRow]:
    """Claim held tasks whose release is due, the longest due first; other transactions skip them."""
    query = (
        select(_TASKS)
        .where(IS_HELD, _TASKS.c.release_at <= now_us)
        .order_by(_TASKS.c.release_at)
        .limit(limit)
    )
    return await rows.fetch(conn, query.with_for_update(skip_locked=True), TaskRow)


async def due_queued(conn: AsyncConnection, now_us: int, limit: int) -> list[TaskRow]:
    """Claim queued tasks whose time in the queue is over, the longest over first; not those that only paused."""
    until = _TASKS.c.complete_by
    ended = or_(_TASKS.c.release_at.is_(None), until.is_(None), until <= now_us)
    query = (
        select(_TASKS)
        .where(IS_QUEUED, _TASKS.c.expires_at <= now_us, ended)
        .order_by(_TASKS.c.expires_at)
        .limit(limit)
    )
    return await rows.fetch(conn, query.with_for_update(skip_locked=True), TaskRow)


async def due_again(conn: AsyncConnection, now_us: int, limit: int) -> list[TaskRow]:
    """Claim queued tasks that paused and whose pause is over, with time left, the longest over first."""
    query = (
        select(_TASKS)
        .where(
            IS_QUEUED,
            _TASKS.c.expires_at <= now_us,
            _TASKS.c.release_at <= now_us,
            _TASKS.c.complete_by > now_us,
        )
        .order_by(_TASKS.c.expires_at)
        .limit(limit)
    )
    return await rows.fetch(conn, query.with_for_update(skip_locked=True), TaskRow)


async def queued(conn: AsyncConnection, after: str, limit: int, *, paused: bool = True) -> list[TaskRow]:
    """Claim queued tasks to try again, the oldest first, those after the id `after`; `paused` ones too, or not."""
    query = select(_TASKS).where(IS_QUEUED, _TASKS.c.id > after).order_by(_TASKS.c.id).limit(limit)
    if not paused:
        query = query.where(_TASKS.c.release_at.is_(None))
    return await rows.fetch(conn, query.with_for_update(skip_locked=True), TaskRow)


async def any_queued(conn: AsyncConnection) -> bool:
    """Whether any task is queued; claims nothing, so a reader may ask."""
    return (await conn.execute(select(_TASKS.c.id).where(IS_QUEUED).limit(1))).first() is not None


async def queued_for(conn: AsyncConnection, offer_ids: Collection[str]) -> dict[str, int]:
    """By offer, how many queued tasks it would serve, had it a place."""
    found = dict[str, int]()
    query = select(_TASKS.c.nearest).where(IS_QUEUED, _TASKS.c.nearest.is_not(None))
    for (text,) in await conn.execute(query):
        nearest = orjson.loads(text)
        if nearest["reason"] == "no_capacity" and nearest["offer_id"] in offer_ids:
            found[nearest["offer_id"]] = found.get(nearest["offer_id"], 0) + 1
    return found


class StoredHold(NamedTuple):
    """What is read of a held task to watch it; `release_at` in µs."""

    release_at: int
    id: str
    decided_as: str
    hold: str


async def holds(conn: AsyncConnection, after: tuple[int, str], limit: int) -> list[StoredHold]:
    """Held tasks in order of their release, those after a (release_at, id); claims nothing.

    In that order, since the index of what is held has it, however many tasks are done.
    """
    at, task_id = after
    columns = (_TASKS.c.release_at, _TASKS.c.id, _TASKS.c.decided_as, func.coalesce(_TASKS.c.hold, ""))
    query = (
        select(*columns)
        .where(IS_HELD, _TASKS.c.release_at >= at, or_(_TASKS.c.release_at > at, _TASKS.c.id > task_id))
        .order_by(_TASKS.c.release_at, _TASKS.c.id)
        .limit(limit)
    )
    return [StoredHold(*row) for row in await conn.execute(query)]


async def waiting_among(conn: AsyncConnection, ids: Collection[str]) -> list[TaskRow]:
    """Claim those of some tasks that are still held or queued, the oldest first."""
    query = select(_TASKS).where(_TASKS.c.id.in_(ids), or_(IS_HELD, IS_QUEUED)).order_by(_TASKS.c.id)
    return await rows.fetch(conn, query.with_for_update(skip_locked=True), TaskRow)


async def waiting_or_of(conn: AsyncConnection, ids: Collection[str], owner: str) -> set[str]:
    """Which of some tasks are queued, or held by a node; claims nothing."""
    query = select(_TASKS.c.id).where(_TASKS.c.id.in_(ids), or_(IS_QUEUED, _TASKS.c.lease_owner == owner))
    return {row.id for row in await conn.execute(query)}


class StoredAward(NamedTuple):
    """What is read of a running task to count its slot."""

    id: str
    decided_as: str
    award: str


async def with_slots(conn: AsyncConnection, but_of: str) -> list[StoredAward]:
    """The tasks that other nodes than this one run on a lane that may take them back, over a net; claims nothing."""
    query = select(_TASKS.c.id, _TASKS.c.decided_as, _TASKS.c.award).where(
        IS_LEASED, _TASKS.c.lease_owner != but_of, _TASKS.c.award.contains('"slot":')
    )
    return [StoredAward(*row) for row in await conn.execute(query)]


async def leased_by_dead(conn: AsyncConnection, live_owners: Collection[str], limit: int) -> list[TaskRow]:
    """Claim assigned and running tasks that no live node holds."""
    orphaned = or_(_TASKS.c.lease_owner.is_(None), _TASKS.c.lease_owner.not_in(live_owners))
    query = select(_TASKS).where(IS_LEASED, orphaned).order_by(_TASKS.c.id).limit(limit)
    return await rows.fetch(conn, query.with_for_update(skip_locked=True), TaskRow)


async def next_due(conn: AsyncConnection) -> int | None:
    """The next instant (µs) at which a held task is released or a queued one expires or tries again, or None."""
    instants = union_all(
        select(func.min(_TASKS.c.release_at).label("at")).where(IS_HELD),
        select(func.min(_TASKS.c.expires_at).label("at")).where(IS_QUEUED),
    ).subquery()
    least: int | None = (await conn.execute(select(func.min(instants.c.at)))).scalar()
    return least


async def get_task(conn: AsyncConnection, task_id: str) -> TaskRow | None:
    """The task under an id, or None."""
    return await rows.get(conn, TaskRow, task_id)


async def payload(conn: AsyncConnection, task_id: str) -> TaskPayload | None:
    """What the task asks and what came back, or None."""
    return await rows.get(conn, TaskPayload, task_id)


async def set_result(conn: AsyncConnection, task_id: str, result: str) -> None:
    """Keep what came back."""
    await conn.execute(_PAYLOAD_OF, {"the_task": task_id, "result": result})


async def list_tasks(
    conn: AsyncConnection,
    *,
    account_id: str | None = None,
    state: str | None = None,
    task_type: str | None = None,
    labels: Mapping[str, str] | None = None,
    after: str | None = None,
    limit: int = 50,
) -> list[TaskRow]:
    """Tasks, the newest first, those older than the id `after`; all of `labels` must be there."""
    query = select(_TASKS).order_by(_TASKS.c.id.desc()).limit(limit)
    equals = {"account_id": account_id, "state": state, "task_type": task_type}
    query = query.where(*(_TASKS.c[name] == value for name, value in equals.items() if value is not None))
    query = query.where(*(_has_label(conn, name, value) for name, value in (labels or {}).items()))
    if after is not None:
        query = query.where(_TASKS.c.id < after)
    return await rows.fetch(conn, query, TaskRow)


def _has_label(conn: AsyncConnection, name: str, value: str) -> ColumnElement[bool]:
    stored = func.nullif(_TASKS.c.labels, "")
    if conn.dialect.name == "postgresql":
        kept: ColumnElement[str] = cast(stored, JSONB)[name].astext
        return kept == value
    label = func.json_each(stored).table_valued("key", "value", name="label")
    return select(label.c.key).where(label.c.key == name, label.c.value == value).exists()


async def any_decided_by(conn: AsyncConnection, account_id: str, auction_id: str) -> bool:
    """Whether an auction is the last that decided on some task of an account."""
    query = select(_TASKS.c.id).where(_TASKS.c.account_id == account_id, _TASKS.c.auction_id == auction_id)
    return (await conn.execute(query.limit(1))).first() is not None


async def job_counts(conn: AsyncConnection, account_id: str, job: str) -> tuple[int, int]:
    """How many tasks an account's job has, and how many of them have ended; withdrawn and unfilled ones don't count."""
    query = (
        select(_TASKS.c.state, func.count().label("tasks"))
        .where(_TASKS.c.account_id == account_id, _TASKS.c.job == job, _TASKS.c.job.is_not(None))
        .group_by(_TASKS.c.state)
    )
    counts = {row.state: row.tasks for row in await conn.execute(query)}
    for state in (TaskState.CANCELLED, TaskState.UNFILLED):
        counts.pop(state, None)
    return sum(counts.values()), sum(number for state, number in counts.items() if state in FINAL)


async def job_began(conn: AsyncConnection, account_id: str, job: str) -> int | None:
    """When the first call of an account's job began, µs; None where none has."""
    attempts = rows.table_of(Attempt)
    query = (
        select(func.min(attempts.c.started_at))
        .join(_TASKS, _TASKS.c.id == attempts.c.task_id)
        .where(_TASKS.c.account_id == account_id, _TASKS.c.job == job, _TASKS.c.job.is_not(None))
    )
    began: int | None = (await conn.execute(query)).scalar()
    return began


async def count_tasks(conn: AsyncConnection) -> int:
    """How many tasks there are."""
    return await rows.scalar_int(conn, select(func.count()).select_from(_TASKS))


async def counts_by_state(conn: AsyncConnection, account_id: str | None = None) -> dict[str, int]:
    """How many tasks stand in each state."""
    query = select(_TASKS.c.state, func.count().label("tasks")).group_by(_TASKS.c.state)
    if account_id is not None:
        query = query.where(_TASKS.c.account_id == account_id)
    return {row.state: row.tasks for row in await conn.execute(query)}


async def latest_instant(conn: AsyncConnection) -> int | None:
    """The latest instant (µs) at which a task was placed or ended, or an attempt began; None of an empty market."""
    attempts = rows.table_of(Attempt)
    instants = union_all(
        select(func.max(_TASKS.c.created_at).label("at")),
        select(func.max(_TASKS.c.finished_at).label("at")),
        select(func.max(attempts.c.started_at).label("at")),
    ).subquery()
    latest: int | None = (await conn.execute(select(func.max(instants.c.at)))).scalar()
    return latest
