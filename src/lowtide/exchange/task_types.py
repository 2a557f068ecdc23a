"""What each type of task usually takes: output tokens and price, known from 20 answers on."""

from collections import deque
from dataclasses import dataclass, field
from statistics import median

from lowtide.market.offer import ENOUGH_ANSWERS

_WINDOW = 200


@dataclass(slots=True)
class _Record:
    outputs: deque[int] = field(default_factory=lambda: deque(maxlen=_WINDOW))
    costs: deque[int] = field(default_factory=lambda: deque(maxlen=_WINDOW))


class TaskTypes:
    """Trailing figures by task type. They enter a decision as inputs and stand in its record."""

    def __init__(self) -> None:
        self._records: dict[str, _Record] = {}

    def note(self, task_type: str, output_tokens: int, cost_nano: int) -> None:
        """Take one answer into account."""
        record = self._records.setdefault(task_type, _Record())
        record.outputs.append(output_tokens)
        record.costs.append(cost_nano)

    def usual_output(self, task_type: str) -> int | None:
        """Mean output tokens, rounded up; None until 20 answers are known."""
        record = self._records.get(task_type)
        if record is None or len(record.outputs) < ENOUGH_ANSWERS:
            return None
        return max(1, -(-sum(record.outputs) // len(record.outputs)))

    def reference_cost(self, task_type: str) -> int:
        """Trailing median price, nano-USD; 0 until 20 answers are known."""
        record = self._records.get(task_type)
        return int(median(record.costs)) if record is not None and len(record.costs) >= ENOUGH_ANSWERS else 0
