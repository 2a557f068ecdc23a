"""The progress rule for a job of many calls under one deadline, on lanes that take calls back. Pure; times are µs.

Uniform progress, as in "Can't Be Late" (Wu et al., NSDI 2024): a job stays on spot while at least as much of it is done
as of its window has passed; behind that line it buys what nobody takes back, and returns only once it is ahead by two
changeovers. Its safety net: from the last instant at which all that is left can still be done for certain, nothing is
risked any more. Calls show no progress while they are on their way, so the line begins one call's time later.
"""

from dataclasses import dataclass
from typing import NamedTuple

from lowtide.values.money import ceil_div


@dataclass(frozen=True, slots=True)
class JobProgress:
    """How far a job is: calls in all and done, when its first call began (None: none has), whether it had left spot."""

    total: int
    done: int
    began: int | None = None
    left_spot: bool = False

    @property
    def to_do(self) -> int:
        """Calls that are not done yet."""
        return max(0, self.total - self.done)


class Pace(NamedTuple):
    """What a lane that nobody takes back does for certain: a call's time, that of its second try, and how many at once.

    `at_once` None: as many as there are. The second try is the changeover too: what one return from spot costs.
    """

    call_us: int
    retry_us: int
    at_once: int | None = None


def needed_us(to_do: int, pace: Pace) -> int:
    """How long so many calls take for certain, with one failure at the worst place."""
    if to_do <= 0:
        return 0
    rounds = 1 if pace.at_once is None else ceil_div(to_do, max(1, pace.at_once))
    return rounds * pace.call_us + pace.retry_us


def return_by(job: JobProgress, pace: Pace, complete_by: int, guard_us: int) -> int:
    """The last instant at which a call may come back from spot undone: from then on all that is left is safe."""
    return complete_by - needed_us(max(1, job.to_do), pace) - guard_us


def leaves_spot(job: JobProgress, pace: Pace, complete_by: int, now: int) -> bool:
    """Whether the job is behind its line, or not yet far enough ahead of it to return."""
    if job.began is None or not job.to_do:
        return False
    window = complete_by - job.began
    if window <= 0:
        return True
    passed = now - job.began - pace.call_us
    if job.left_spot:
        passed += 2 * pace.retry_us
    return job.done * window < job.total * passed
