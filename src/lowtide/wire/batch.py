"""Batches: many calls handed in together, done within a window, and fetched. What every batch wire takes and gives."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from lowtide.wire.call import Answer, Call, Failure

WINDOW_S = 24 * 60 * 60


@dataclass(frozen=True, slots=True)
class Seller:
    """Where a batch is kept: the address, and the key whose account has it."""

    base_url: str
    api_key: str | None


class BatchState(StrEnum):
    """How far a batch is. The last four are its end; each may have results: what was done until then."""

    WAITING = "waiting"
    RUNNING = "running"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    REFUSED = "refused"

    @property
    def ended(self) -> bool:
        """Whether nothing more comes."""
        return self in (BatchState.COMPLETED, BatchState.EXPIRED, BatchState.CANCELLED, BatchState.REFUSED)


@dataclass(frozen=True, slots=True)
class BatchStatus:
    """A batch as its seller tells of it. `results` say where the lines are, in the wire's own words; None where none are.

    Counts are those of calls; `detail` says why it was refused.
    """

    id: str
    state: BatchState
    total: int
    done: int
    failed: int
    results: tuple[str, ...] = ()
    detail: str = ""


Result = tuple[str, Answer | Failure | None]
"""A call's name with what became of it; None where the batch ended before it was done."""


class BatchWire(Protocol):
    """One seller's batches. Every method raises CallFailed with the failure sorted."""

    most_calls: int
    most_bytes: int
    keeps_names: bool

    async def submit(self, seller: Seller, name: str, calls: Mapping[str, Call]) -> BatchStatus:
        """Hand in calls, each under a name of its own; `name` is ours for the whole, kept where the wire can keep it."""

    async def find(self, seller: Seller, name: str) -> BatchStatus | None:
        """The batch that was handed in under a name of ours; None where there is none, or the wire keeps no names."""

    async def poll(self, seller: Seller, batch_id: str) -> BatchStatus:
        """How far it is."""

    async def cancel(self, seller: Seller, batch_id: str) -> BatchStatus:
        """Ask for its end; what is done by then is kept and billed."""

    def collect(self, seller: Seller, status: BatchStatus) -> AsyncIterator[Result]:
        """The results of a batch that ended, in any order. Calls that it does not name were not done."""
