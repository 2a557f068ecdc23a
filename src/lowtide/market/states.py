"""The states of a task and of an attempt, and the moves between them (the table of RECORD.md)."""

from enum import StrEnum

from lowtide.values.errors import IllegalTransition


class TaskState(StrEnum):
    """Where a task stands. `unfilled`, `succeeded`, `failed`, `expired` and `cancelled` are final."""

    QUEUED = "queued"
    HELD = "held"
    ASSIGNED = "assigned"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNFILLED = "unfilled"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class AttemptState(StrEnum):
    """Where one call of a provider stands. `unknown`: it had started, and nobody saw its answer."""

    STARTED = "started"
    ANSWERED = "answered"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


_S = TaskState
_NONE: frozenset[TaskState] = frozenset()

TRANSITIONS: dict[TaskState | None, frozenset[TaskState]] = {
    None: frozenset({_S.RUNNING, _S.ASSIGNED, _S.HELD, _S.QUEUED, _S.UNFILLED}),
    _S.QUEUED: frozenset({_S.RUNNING, _S.ASSIGNED, _S.HELD, _S.UNFILLED, _S.EXPIRED, _S.CANCELLED}),
    _S.HELD: frozenset({_S.RUNNING, _S.ASSIGNED, _S.QUEUED, _S.UNFILLED, _S.EXPIRED, _S.CANCELLED}),
    _S.ASSIGNED: frozenset({_S.RUNNING, _S.QUEUED, _S.EXPIRED, _S.CANCELLED}),
    _S.RUNNING: frozenset({_S.SUCCEEDED, _S.FAILED, _S.EXPIRED, _S.CANCELLED, _S.HELD, _S.QUEUED}),
    _S.SUCCEEDED: _NONE,
    _S.FAILED: _NONE,
    _S.UNFILLED: _NONE,
    _S.EXPIRED: _NONE,
    _S.CANCELLED: _NONE,
}
"""Where a task may go from each state; None is a task just placed."""

FINAL: frozenset[TaskState] = frozenset(state for state in TaskState if not TRANSITIONS[state])


def check_transition(before: TaskState | str | None, after: TaskState | str) -> None:
    """Pass where the table has the move. Raises IllegalTransition where it has not."""
    origin = None if before is None else TaskState(before)
    if TaskState(after) not in TRANSITIONS[origin]:
        allowed = ", ".join(sorted(TRANSITIONS[origin])) or "nothing: that state is final"
        raise IllegalTransition(
            f"A task cannot go from {before or 'placed'} to {after}. It may go to: {allowed}."
        )
