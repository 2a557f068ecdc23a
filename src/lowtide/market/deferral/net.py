"""The safety net under lanes that may take a call back: a safe run elsewhere must still fit after it. Times are µs."""

from typing import NamedTuple

import numpy as np

from lowtide.market.bid import Bids
from lowtide.market.book import Book
from lowtide.market.columns import Ints
from lowtide.market.deferral.progress import JobProgress, Pace, leaves_spot, return_by
from lowtide.market.eligibility import PASSING_WITH_DEADLINE, LossReason, Reasons, completion_p99_ms
from lowtide.market.task import Task
from lowtide.values.instants import SECOND_US

GUARD_US = 30 * SECOND_US
"""Time for a restart at the worst minute: what a dead node left is taken over within 20 s (its lease, then a look)."""
SPOT = "spot"
PREEMPTIBLE = (SPOT,)
"""Lanes whose calls may be taken back in the middle."""
_ALONE = JobProgress(1, 0)
_PASSING = sorted(map(int, PASSING_WITH_DEADLINE))


class Net(NamedTuple):
    """What catches a task whose call is taken back.

    `row` is the best bid that nobody takes back, `latest` the last instant from which it may fail and the best
    elsewhere still finish; by `return_by` a spot call must be back, which for a job of many calls, and where room is
    scarce, is sooner.
    `left_spot`: the job is behind its line, so it buys no spot now. `later`: nobody else can serve the task now, but
    some may by then.
    """

    row: int
    latest: int
    return_by: int
    left_spot: bool
    later: bool = False


def keep_net(
    task: Task,
    book: Book,
    bids: Bids,
    reason: Reasons,
    score: Ints,
    lanes: tuple[str, ...],
    job: JobProgress | None,
    as_of: int,
    back_by: int | None = None,
) -> Net | None:
    """Strike (`too_late`) the spot bids that would risk the deadline. None where there is nothing to catch, or no net.

    Where no other bid can serve the task, now or with time, there is no net to keep, and spot bids compete as any.
    By `back_by` (µs) a call must be back in any case: later there would be no room for the safe run.
    """
    complete_by, spot = task.constraints.complete_by, book.on_lanes(lanes)
    if complete_by is None or not spot.any():
        return None
    completion = completion_p99_ms(book, bids)
    safe = np.flatnonzero((reason == 0) & ~spot)
    waiting = not len(safe)
    if waiting:
        # Who will be best is not known: the slowest may.
        safe = np.flatnonzero(np.isin(reason, _PASSING) & ~spot)
        if not len(safe):
            return None
        row = second = int(safe[np.argmax(completion[safe])])
    else:
        row = _best(safe, score, completion)
        elsewhere = safe[book.provider_codes[safe] != book.provider_codes[row]]
        second = _best(elsewhere, score, completion) if len(elsewhere) else row
    pace = Pace(
        1_000 * int(completion[row]),
        1_000 * int(completion[second]),
        book.rows[row].offer.capacity.concurrency,
    )
    whole = _ALONE if job is None else job
    back = return_by(whole, pace, complete_by, GUARD_US)
    if back_by is not None:
        back = min(back, back_by)
    left_spot = leaves_spot(whole, pace, complete_by, as_of)
    risky = (as_of + 1_000 * completion > back) | left_spot
    reason[spot & (reason == 0) & risky] = LossReason.TOO_LATE
    return Net(row, complete_by - pace.call_us - pace.retry_us - GUARD_US, back, left_spot, waiting)


def _best(rows: Ints, score: Ints, completion: Ints) -> int:
    """The row of the highest score; of equal ones the slowest, since any of them may win the tie."""
    best = rows[score[rows] == score[rows].max()]
    return int(best[np.argmax(completion[best])])
