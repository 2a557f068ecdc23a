"""Batch lanes: what they have won is pooled, handed in, followed and fetched; what is not back in time is rescued.

A duty: one node does it. Every step is written before the next, so that another can go on from it.
"""

import time
from collections.abc import Sequence

import orjson
import structlog

from lowtide.exchange.batch_returns import give_back, settle_result, started_of
from lowtide.exchange.batch_times import KEPT_US
from lowtide.exchange.calls import address_of, call_of, credentials_of
from lowtide.exchange.dispatch import Dispatcher
from lowtide.exchange.market import Market
from lowtide.exchange.redecide import task_of
from lowtide.store import attempts, batches, duties, providers, tasks
from lowtide.store.tables import BatchItem, BatchRow, Provider
from lowtide.values.ids import new_id
from lowtide.values.instants import HOUR_US, SECOND_US
from lowtide.wire.batch import BatchState, BatchStatus, BatchWire, Seller
from lowtide.wire.call import Call, CallFailed, Failure, FailureKind
from lowtide.wire.failures import failure

DUTY = "batches"
LEASE_US = 120 * SECOND_US
NEW, SENDING, SENT, CANCELLING, ENDED = "new", "sending", "sent", "cancelling", "ended"
MOST_WAITING = 100_000
MOST_POLL_S = 60.0
CALL_S = 600.0
_LINE_BYTES = 512
"""What a line has besides the requester's body, at most."""
_log = structlog.get_logger()


class Batches:
    """The batches of the market, as the node that has the duty sees them."""

    def __init__(self, market: Market, dispatcher: Dispatcher) -> None:
        self._market, self._dispatcher = market, dispatcher
        self._next_poll: dict[str, tuple[float, float]] = {}

    async def step(self) -> None:
        """Pool what waits, hand in what is pooled, look at what is on its way; nothing where another node does it."""
        market = self._market
        async with market.database.read() as conn:
            busy = await batches.waiting(conn, 1) or await batches.in_state(
                conn, (NEW, SENDING, SENT, CANCELLING)
            )
        if not busy:
            return
        real_now = time.time_ns() // 1_000
        if not await market.database.writer.write(
            lambda conn: duties.take_or_renew(conn, DUTY, market.node, real_now, LEASE_US)
        ):
            return
        await market.database.writer.write(batches.drop_ended_items)
        await self._pool()
        async with market.database.read() as conn:
            found = await batches.in_state(conn, (NEW, SENDING, SENT, CANCELLING))
        for batch in found:
            await self._advance(batch)

    async def learn(self) -> None:
        """Learn how long batches take from those that came back of late."""
        market = self._market
        async with market.database.read() as conn:
            sellers = await batches.sellers(conn)
            ended = await batches.durations(conn, market.now() - KEPT_US)
        market.batch_times.learn(sellers, ended)

    async def _pool(self) -> None:
        """Many small calls become one batch: of a provider and of rescues in the same hour, once the oldest has waited."""
        market, now = self._market, self._market.now()
        async with market.database.read() as conn:
            found = await batches.waiting(conn, MOST_WAITING)
        pools: dict[tuple[str, int], list[BatchItem]] = {}
        for item in found:
            pools.setdefault((item.provider_id, item.rescue_at // HOUR_US), []).append(item)
        for (provider_id, _), pool in pools.items():
            async with market.database.read() as conn:
                provider = await providers.get_provider(conn, provider_id)
            wire = None if provider is None else market.batch_wire_of(provider)
            most = wire.most_calls if wire is not None else len(pool)
            ripe = pool[0].created_at + int(market.rules.pool_s * SECOND_US) <= now
            for start in range(0, len(pool), most):
                part = pool[start : start + most]
                if ripe or len(part) == most:
                    await self._open(part)

    async def _open(self, items: Sequence[BatchItem]) -> None:
        now = self._market.now()
        batch = {
            "id": new_id("bat", now),
            "provider_id": items[0].provider_id,
            "state": NEW,
            "calls": len(items),
            "rescue_at": min(item.rescue_at for item in items),
            "created_at": now,
        }
        ids = [item.attempt_id for item in items]
        await self._market.database.writer.write(lambda conn: batches.open_batch(conn, batch, ids))

    async def _advance(self, batch: BatchRow) -> None:
        async with self._market.database.read() as conn:
            items = await batches.items(conn, batch.id)
            provider = await providers.get_provider(conn, batch.provider_id)
        assert provider is not None  # a foreign key
        wire = self._market.batch_wire_of(provider)
        try:
            if wire is None:
                text = f"{provider.name} takes no batches any more."
                raise CallFailed(failure(FailureKind.MODEL_MISSING, text, 0))
            if batch.state == NEW:
                await self._send(batch, items, provider, wire)
            elif batch.state == SENDING:
                await self._resume(batch, items, provider, wire)
            else:
                await self._look(batch, items, provider, wire)
        except CallFailed as fault:
            await self._failed(batch, items, fault.failure)

    async def _send(
        self, batch: BatchRow, items: Sequence[BatchItem], provider: Provider, wire: BatchWire
    ) -> None:
        market = self._market
        names = credentials_of(market, provider)
        credential = names[sum(batch.id.encode()) % len(names)] if names else None
        if not await market.database.writer.write(
            lambda conn: batches.change(conn, batch.id, NEW, state=SENDING, credential=credential)
        ):
            return
        batch.state, batch.credential = SENDING, credential
        calls, too_many = await self._calls(items, provider, wire.most_bytes)
        if too_many:
            await market.database.writer.write(lambda conn: batches.put_back(conn, too_many))
        if not calls:
            await self._end(batch, "empty", "")
            return
        await self._sent(batch, await wire.submit(self._seller(batch, provider), batch.id, calls))

    async def _calls(
        self, items: Sequence[BatchItem], provider: Provider, most_bytes: int
    ) -> tuple[dict[str, Call], list[str]]:
        """The calls by attempt, as many as the wire takes in one batch, and the attempts that are left."""
        calls: dict[str, Call] = {}
        left: list[str] = []
        size = 0
        async with self._market.database.read() as conn:
            for item in items:
                attempt = await attempts.get(conn, item.attempt_id)
                found = None if attempt is None else started_of(self._market, attempt)
                payload = await tasks.payload(conn, item.task_id)
                row = await tasks.get_task(conn, item.task_id)
                if found is not None and payload is not None and row is not None:
                    size += len(payload.input.encode()) + _LINE_BYTES
                    if size > most_bytes and calls:
                        left.append(item.attempt_id)
                        continue
                    task = task_of(self._market, row)
                    body = orjson.loads(payload.input)
                    calls[item.attempt_id] = call_of(self._market, provider, found, task, body, CALL_S)
        return calls, left

    async def _sent(self, batch: BatchRow, status: BatchStatus) -> None:
        now = self._market.now()
        await self._market.database.writer.write(
            lambda conn: batches.change(
                conn, batch.id, SENDING, state=SENT, upstream_id=status.id, sent_at=now
            )
        )

    async def _resume(
        self, batch: BatchRow, items: Sequence[BatchItem], provider: Provider, wire: BatchWire
    ) -> None:
        """A node died while it handed the batch in: find it by our name, hand it in again, or give it up as lost."""
        found = await wire.find(self._seller(batch, provider), batch.id)
        if found is not None:
            await self._sent(batch, found)
        elif wire.keeps_names:
            await self._market.database.writer.write(
                lambda conn: batches.change(conn, batch.id, SENDING, state=NEW)
            )
        else:
            text = "The node that handed the batch in died; whether the seller has it cannot be known."
            await self._failed(batch, items, failure(FailureKind.CUT, text, 0))

    async def _look(
        self, batch: BatchRow, items: Sequence[BatchItem], provider: Provider, wire: BatchWire
    ) -> None:
        market, seller = self._market, self._seller(batch, provider)
        upstream_id = batch.upstream_id or ""
        late = batch.rescue_at <= market.now() or not items
        if batch.state == SENT and late:
            # Once: what it says is looked at below, and again until it has ended.
            await wire.cancel(seller, upstream_id)
            await market.database.writer.write(
                lambda conn: batches.change(conn, batch.id, SENT, state=CANCELLING)
            )
            batch.state = CANCELLING
        elif not self._poll_due(batch.id):
            return
        status = await wire.poll(seller, upstream_id)
        if status.state.ended:
            await self._collect(batch, items, seller, wire, status)
        elif batch.state == CANCELLING:
            # It may take minutes to end; those whose rescue has come do not wait for it.
            now = market.now()
            await self._give_back([item for item in items if item.rescue_at <= now], None)

    async def _collect(
        self,
        batch: BatchRow,
        items: Sequence[BatchItem],
        seller: Seller,
        wire: BatchWire,
        status: BatchStatus,
    ) -> None:
        left = {item.attempt_id: item for item in items}
        async for attempt_id, outcome in wire.collect(seller, status):
            item = left.get(attempt_id)
            if item is None or outcome is None:
                continue
            del left[attempt_id]
            if isinstance(outcome, Failure):
                await self._give_back([item], outcome)
            else:
                await settle_result(self._market, item, outcome)
        refused = status.state is BatchState.REFUSED
        fault = failure(FailureKind.CALLER_ERROR, status.detail, 0) if refused else None
        await self._give_back(list(left.values()), fault)
        await self._end(batch, str(status.state), status.detail)

    async def _failed(self, batch: BatchRow, items: Sequence[BatchItem], fault: Failure) -> None:
        """Before it is handed in its items go back at once; afterwards it is asked again, until the rescue."""
        _log.warning(
            "batch_failed", batch=batch.id, state=batch.state, kind=str(fault.kind), detail=fault.detail
        )
        if batch.state in (SENT, CANCELLING) and fault.kind is not FailureKind.MODEL_MISSING:
            if batch.rescue_at <= self._market.now():
                now = self._market.now()
                await self._give_back([item for item in items if item.rescue_at <= now], fault)
            return
        if batch.state == SENDING and fault.possibly_billed:
            return  # Whether the seller has it is found out at the next step.
        await self._give_back(items, fault)
        await self._end(batch, "failed", fault.detail)

    async def _give_back(self, items: Sequence[BatchItem], fault: Failure | None) -> None:
        for item in items:
            await give_back(self._market, self._dispatcher, item, fault)

    async def _end(self, batch: BatchRow, outcome: str, detail: str) -> None:
        now = self._market.now()
        self._next_poll.pop(batch.id, None)
        await self._market.database.writer.write(
            lambda conn: batches.change(
                conn, batch.id, batch.state, state=ENDED, ended_at=now, outcome=outcome, detail=detail[:500]
            )
        )
        _log.info("batch_ended", batch=batch.id, outcome=outcome, calls=batch.calls)

    def _seller(self, batch: BatchRow, provider: Provider) -> Seller:
        key = None if batch.credential is None else self._market.credentials.get(batch.credential)
        return Seller(address_of(self._market, provider), key)

    def _poll_due(self, batch_id: str) -> bool:
        """Whether it is time to ask again: sparsely, the longer it takes."""
        now = time.monotonic()
        due, pause = self._next_poll.get(batch_id, (0.0, self._market.rules.batch_poll_s))
        if now < due:
            return False
        self._next_poll[batch_id] = (now + pause, min(pause * 1.5, MOST_POLL_S))
        return True
