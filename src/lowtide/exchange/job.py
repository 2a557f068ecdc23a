"""A running task as its node holds it."""

from dataclasses import dataclass, field
from typing import Any

from lowtide.exchange.award import Candidate, Started
from lowtide.market.task import Task
from lowtide.store.tables import TaskRow


@dataclass(slots=True)
class Job:
    """A running task on this node: its row, its ladder of bids, and the attempt under way."""

    row: TaskRow
    task: Task
    input: dict[str, Any]
    ladder: tuple[Candidate, ...]
    attempt: Started
    max_attempts: int
    step: int = 0
    hopeless: set[int] = field(default_factory=set)
    """Rows that failed in a way that another try will not mend."""

    forgiven: int = 0
    """Take-backs that were not counted as attempts."""

    outwaited: bool = False
    """Whether it began at the end of a pause that waited out an outage: the last such pause ends at its latest start."""

    @property
    def has_deadline(self) -> bool:
        """Whether the task must be done by an instant."""
        return self.task.constraints.complete_by is not None

    def time_left_s(self, now: int) -> float | None:
        """Seconds to the deadline, or None where there is none."""
        deadline = self.task.constraints.complete_by
        return None if deadline is None else (deadline - now) / 1_000_000
