"""Settling: an attempt's end, the money it moved, and the task's next state, in one commit."""

from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.exchange import captures
from lowtide.exchange.award import Candidate, NoPlace, Started, award_values, dumped, raised, start_attempt
from lowtide.exchange.hindsight import note_end
from lowtide.exchange.market import Market
from lowtide.exchange.notices import tell_settled
from lowtide.exchange.observe import Observed
from lowtide.exchange.receipts import receipt_values, settled_values, settlement_line, usage_values
from lowtide.market.book_lines import prices_from_values
from lowtide.market.deferral.batch_lane import BATCH
from lowtide.market.states import AttemptState, TaskState
from lowtide.market.task import Task
from lowtide.market.usage import Usage, charge
from lowtide.store import attempts, capacity, events, log, money, tasks
from lowtide.store.tables import Attempt, TaskRow
from lowtide.values.money import ceil_div
from lowtide.wire.call import Answer, Failure, FailureKind


@dataclass(frozen=True, slots=True)
class Settlement:
    """An attempt that came back: the task as this node holds it, and how long the call took (µs, measured)."""

    row: TaskRow
    task: Task
    attempt: Started
    took_us: int

    @property
    def ended_at(self) -> int:
        """Market time of the end: the start plus the measured duration."""
        return self.attempt.started_at + self.took_us


async def settle_answer(market: Market, spent: Settlement, answer: Answer) -> None:
    """An answer: the task has succeeded, what it used is captured, the rest voided.

    Raises LostRace where the task was ended meanwhile; then nothing is written.
    """
    candidate, base_tokens = spent.attempt.candidate, ceil_div(spent.task.input_bytes, 4)
    text = answer.message.get("content")
    usage = answer.usage or Usage(base_tokens, ceil_div(len(str(text or "").encode()), 4))
    cost = raised(charge(candidate.prices, usage), candidate.bid_nano, candidate.price_nano)

    async def unit(conn: AsyncConnection) -> None:
        await _end(conn, spent, AttemptState.ANSWERED, "answered", None, cost, usage)
        await capacity.grow(conn, candidate.offer.id)
        tried = await attempts.of_task(conn, spent.row.id)
        paid = captures.paid(cost, tried, spent.row.authorized_nano)
        receipt = _receipt(market, spent, paid, usage, tried)
        await tasks.set_result(
            conn,
            spent.row.id,
            dumped(
                {
                    "output": answer.message,
                    "finish_reason": answer.finish_reason,
                    "latency_ms": answer.latency_ms,
                    "usage": usage_values(usage),
                    "usage_reported": answer.usage is not None,
                    "model": answer.model,
                }
            ),
        )
        await _finish(conn, spent, TaskState.SUCCEEDED, None, cost, receipt, tried, usage)

    await market.database.writer.write(unit)
    market.task_types.note(spent.task.type, usage.output, cost)
    if candidate.offer.lane == BATCH:
        return  # How long a batch took is learned of the batch.
    market.observations.note(
        candidate.offer.id,
        Observed(True, answer.latency_ms, usage.input, base_tokens, usage.output, spent.task.usual_output),
        spent.ended_at,
    )


async def settle_failure(
    market: Market, spent: Settlement, failure: Failure, upcoming: Candidate, starts_at: int
) -> Started | None:
    """A provider's failure: the attempt ends and the next one starts (µs), in one commit. None where `upcoming` is full.

    Raises LostRace where the task was ended meanwhile, InsufficientFunds where the next bid cannot be authorized.
    """

    async def unit(conn: AsyncConnection) -> Started:
        await end_failed(conn, spent, failure, captures.charged(spent.attempt.candidate, failure))
        more = upcoming.most_nano - spent.row.authorized_nano
        if more > 0:
            await money.raise_authorization(
                conn, spent.row.account_id, spent.row.id, spent.attempt.number, more, spent.ended_at
            )
        started = await start_attempt(
            conn,
            market,
            spent.row.id,
            spent.row.auction_id or "",
            spent.attempt.number + 1,
            upcoming,
            starts_at,
        )
        await tasks.touch(
            conn,
            spent.row.id,
            spent.row.state,
            spent.row.version,
            attempts=started.number,
            award=dumped(award_values(upcoming, "posted")),
            authorized_nano=spent.row.authorized_nano + max(0, more),
        )
        await events.add_events(
            conn,
            [
                {
                    "task_id": spent.row.id,
                    "kind": "attempt.failed",
                    "at": spent.ended_at,
                    "data": dumped(
                        {
                            "offer_id": spent.attempt.candidate.offer.id,
                            "outcome": failure.kind,
                            "next": upcoming.offer.id,
                        }
                    ),
                }
            ],
        )
        return started

    try:
        started = await market.database.writer.write(unit)
    except NoPlace:
        return None
    spent.row.authorized_nano = max(spent.row.authorized_nano, upcoming.most_nano)
    await note_failure(market, spent, failure)
    return started


async def settle_exhausted(
    market: Market, spent: Settlement, failure: Failure, *, time_is_up: bool = False
) -> None:
    """The task ends without an answer: `expired` where its time is up, else `failed`; its money is voided.

    Its time is up at its deadline, or before where its last try was kept for its latest start.
    """
    deadline = spent.task.constraints.complete_by
    late = time_is_up or (deadline is not None and spent.ended_at >= deadline)
    state = TaskState.EXPIRED if late else TaskState.FAILED
    reason = "outage" if late and failure.provider_fault else str(failure.kind)

    async def unit(conn: AsyncConnection) -> None:
        await end_failed(conn, spent, failure, captures.charged(spent.attempt.candidate, failure))
        tried = await attempts.of_task(conn, spent.row.id)
        receipt = _receipt(market, spent, captures.paid(0, tried, spent.row.authorized_nano), None, tried)
        await _finish(conn, spent, state, reason, 0, receipt, tried)

    await market.database.writer.write(unit)
    await note_failure(market, spent, failure)


async def note_failure(market: Market, spent: Settlement, failure: Failure) -> None:
    """Count a failure against the offer's health where it is the provider's fault."""
    offer_id = spent.attempt.candidate.offer.id
    if failure.provider_fault and market.observations.note(offer_id, Observed(False), spent.ended_at):
        await market.seal_conditions([offer_id], spent.ended_at, at_once=True)


async def end_failed(conn: AsyncConnection, spent: Settlement, failure: Failure, cost_nano: int = 0) -> None:
    """End an attempt without an answer, with what it charged all the same; after a 429 less of the offer is used."""
    usage = failure.usage if cost_nano else None
    await _end(conn, spent, AttemptState.FAILED, str(failure.kind), failure.detail, cost_nano, usage)
    if failure.kind is FailureKind.RATE_LIMITED:
        await capacity.shrink(conn, spent.attempt.candidate.offer.id)


async def _end(
    conn: AsyncConnection,
    spent: Settlement,
    state: AttemptState,
    outcome: str,
    detail: str | None,
    cost_nano: int,
    usage: Usage | None,
) -> None:
    ended = await attempts.end_attempt(
        conn,
        spent.attempt.id,
        state,
        outcome=outcome,
        detail=detail,
        cost_nano=cost_nano,
        ended_at=spent.ended_at,
        usage=None if usage is None else dumped(usage_values(usage)),
    )
    if ended:
        await capacity.release(conn, spent.attempt.candidate.offer.id)


async def _finish(
    conn: AsyncConnection,
    spent: Settlement,
    state: TaskState,
    reason: str | None,
    captured_nano: int,
    receipt: dict[str, Any],
    tried: list[Attempt],
    usage: Usage | None = None,
) -> None:
    row, candidate = spent.row, spent.attempt.candidate
    await tasks.move(
        conn,
        row.id,
        row.state,
        row.version,
        state,
        reason=reason,
        receipt=dumped(receipt),
        finished_at=spent.ended_at,
        lease_owner=None,
    )
    await captures.capture(conn, row, captured_nano, candidate.offer.provider, tried, spent.ended_at)
    used = None if usage is None else usage_values(usage)
    await note_end(conn, row, str(state), receipt, used, spent.ended_at)
    told = settled_values(state, receipt, spent.ended_at, usage)
    await tell_settled(conn, candidate.feed_id, candidate.offer.id, row.auction_id, told)
    await tell_winner_that_failed(conn, spent, receipt)
    await events.add_events(
        conn,
        [
            {
                "task_id": row.id,
                "kind": f"task.{state}",
                "at": spent.ended_at,
                "data": dumped({"state": str(state), "reason": reason, "paid": receipt["paid"]}),
            }
        ],
    )
    await log.append(conn, "settlement", row.auction_id, settlement_line(row, state, receipt, spent.ended_at))


async def tell_winner_that_failed(conn: AsyncConnection, spent: Settlement, receipt: dict[str, Any]) -> None:
    """Where another bid served the task, the bidder that won it is told that nothing is paid."""
    row, served_by = spent.row, spent.attempt.candidate.offer.id
    award = orjson.loads(row.award) if spent.attempt.number > 1 and row.award else {}
    if award.get("feed") and award["offer_id"] != served_by:
        told = settled_values("failed", {**receipt, "paid": 0}, spent.ended_at)
        await tell_settled(conn, award["feed"], award["offer_id"], row.auction_id, told)


def _receipt(
    market: Market, spent: Settlement, paid: int, usage: Usage | None, tried: list[Attempt]
) -> dict[str, Any]:
    """The task's account, nano-USD: all of it compares the actual usage (API.md, receipt)."""
    row, candidate = spent.row, spent.attempt.candidate
    hold = orjson.loads(row.hold) if row.hold else None
    immediate = list_cost = None
    if usage is not None:
        list_cost = _list_cost(market, candidate, usage)
        arrival = None if hold is None else hold.get("immediate")
        immediate = paid if arrival is None else charge(prices_from_values(arrival["prices"]), usage)
    deadline = spent.task.constraints.complete_by
    return receipt_values(
        row,
        tried,
        paid,
        list_cost,
        immediate,
        status="captured" if usage is not None or paid else "voided",
        deadline_met=None if deadline is None else usage is not None and spent.ended_at <= deadline,
        held_us=0 if hold is None else max(0, hold.get("released_at", spent.ended_at) - row.created_at),
    )


def _list_cost(market: Market, candidate: Candidate, usage: Usage) -> int:
    """The usage at the dearest price that the model's standard lane asks at this provider in the days ahead."""
    offer, book = candidate.offer, market.keeper.book
    number = book.row_of_key.get(
        (offer.provider, offer.upstream_model, "standard", offer.variant), candidate.row
    )
    known = [charge(quote.prices, usage) for quote in book.rows[number].quotes if quote.prices.known]
    return max(known, default=charge(candidate.prices, usage))
