"""What a task pays at its end: the answer, and what calls charged that were taken back; never beyond its authorization."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.exchange.award import Candidate, raised
from lowtide.market.usage import charge
from lowtide.store import money
from lowtide.store.tables import Attempt, TaskRow
from lowtide.wire.call import Failure, FailureKind

PREEMPTED = str(FailureKind.PREEMPTED)


def charged(candidate: Candidate, failure: Failure) -> int:
    """What a call that was taken back charged, nano-USD: the usage that its provider told, at the prices of the bid."""
    if failure.kind is not FailureKind.PREEMPTED or failure.usage is None:
        return 0
    return raised(charge(candidate.prices, failure.usage), candidate.bid_nano, candidate.price_nano)


def paid(cost_nano: int, tried: Sequence[Attempt], authorized_nano: int) -> int:
    """What the requester pays for an answer of this cost after these attempts, nano-USD."""
    return min(cost_nano + sum(attempt.cost_nano for attempt in _taken_back(tried)), authorized_nano)


async def capture(
    conn: AsyncConnection, row: TaskRow, cost_nano: int, provider: str, tried: Sequence[Attempt], at: int
) -> None:
    """Close the task's authorization: capture `paid`, each provider its part, and void the rest.

    The answer comes first; what does not fit beside it is the house's, so that no take-back eats the rescue's budget.
    """
    left = max(0, min(paid(0, tried, row.authorized_nano), row.authorized_nano - cost_nano))
    await money.settle(conn, row.account_id, row.id, 0, cost_nano, row.authorized_nano - left, provider, at)
    for attempt in _taken_back(tried):
        part = min(left, attempt.cost_nano)
        left -= part
        await money.settle(
            conn, row.account_id, row.id, attempt.number, attempt.cost_nano, part, attempt.provider, at
        )


def _taken_back(tried: Sequence[Attempt]) -> list[Attempt]:
    return [attempt for attempt in tried if attempt.outcome == PREEMPTED and attempt.cost_nano]
