"""How far jobs of many calls are, as this node knows it: looked up at most once a second, for decisions on spot lanes."""

from dataclasses import dataclass, replace

from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.market.auction import Decision
from lowtide.market.deferral.progress import JobProgress
from lowtide.store import tasks
from lowtide.values.instants import SECOND_US

LOOK_US = SECOND_US
MOST_KNOWN = 4_096
"""Jobs remembered at a time; the oldest are forgotten first, and looked up again."""
_NOTHING = JobProgress(0, 0)


@dataclass(slots=True)
class _Known:
    progress: JobProgress
    looked_at: int


class Jobs:
    """Jobs by account and name. Whether one has left spot is this node's own memory: it is what makes it slow to return."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], _Known] = {}

    async def progress(self, conn: AsyncConnection, account_id: str, job: str, now: int) -> JobProgress:
        """How far a job is as of now (µs)."""
        key = (account_id, job)
        known = self._known.get(key)
        if known is not None and 0 <= now - known.looked_at < LOOK_US:
            return known.progress
        before = _NOTHING if known is None else known.progress
        total, done = await tasks.job_counts(conn, account_id, job)
        began = before.began if before.began is not None else await tasks.job_began(conn, account_id, job)
        while known is None and len(self._known) >= MOST_KNOWN:
            del self._known[next(iter(self._known))]
        self._known[key] = _Known(JobProgress(total, done, began, before.left_spot), now)
        return self._known[key].progress

    def note(self, account_id: str, job: str | None, decision: Decision) -> None:
        """Remember whether a decision found the job behind its line."""
        known = self._known.get((account_id, job or ""))
        if known is not None and decision.spot.net is not None:
            known.progress = replace(known.progress, left_spot=decision.spot.net.left_spot)
