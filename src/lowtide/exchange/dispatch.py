"""Dispatch: the awarded work is done over the provider's wire, and goes to the next bid when a provider fails."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import structlog

from lowtide.exchange.award import Candidate
from lowtide.exchange.calls import call_of
from lowtide.exchange.job import Job
from lowtide.exchange.ladder import call_limit, next_step
from lowtide.exchange.market import Market
from lowtide.exchange.nets import Nets
from lowtide.exchange.outage import LASTING, kept_tries, try_again_at, wait_out
from lowtide.exchange.settle import Settlement, settle_answer, settle_exhausted, settle_failure
from lowtide.exchange.taken_back import take_back
from lowtide.market.deferral.net import PREEMPTIBLE
from lowtide.store import providers
from lowtide.store.rows import LostRace
from lowtide.values.errors import MarketError
from lowtide.values.instants import DAY_US
from lowtide.wire.call import Answer, CallFailed, Failure, FailureKind

MOST_FORGIVEN = 6
"""Take-backs that don't count as attempts of a task without a deadline; with one it is the time that ends them."""
FREED_PAUSE_S = 0.02
"""Ends that come this close together wake the queue once."""
_NO_DEADLINE_US = 366 * DAY_US
_log = structlog.get_logger()


class Dispatcher:
    """Keeps the running tasks of this node. A task that is left when the node dies is taken over by another."""

    def __init__(self) -> None:
        self._running: dict[str, asyncio.Task[None]] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self._freed = asyncio.Event()
        self._waking: asyncio.Task[None] | None = None

    def wake_when_freed(self, wake: Callable[[], Awaitable[None]]) -> None:
        """Call `wake` soon after tasks have ended here: places are free for what is queued."""

        async def loop() -> None:
            while True:
                await self._freed.wait()
                self._freed.clear()
                await wake()
                await asyncio.sleep(FREED_PAUSE_S)

        self._waking = asyncio.create_task(loop(), name="waking")

    @property
    def in_flight(self) -> int:
        """How many tasks run here."""
        return len(self._running)

    def carries(self, task_id: str) -> bool:
        """Whether a task runs here."""
        return task_id in self._running

    async def idle(self) -> None:
        """Wait until nothing is in flight."""
        await self._idle.wait()

    def start(self, market: Market, job: Job) -> None:
        """Carry a task to its end in the background."""
        self._spawn(job.row.id, carry(market, job), market.held.nets)

    def _spawn(self, task_id: str, work: Coroutine[Any, Any, None], nets: Nets) -> None:
        self._idle.clear()
        running = asyncio.create_task(work, name=task_id)
        self._running[task_id] = running
        running.add_done_callback(lambda done: self._ended(task_id, done, nets))

    def _ended(self, task_id: str, done: asyncio.Task[None], nets: Nets) -> None:
        if self._running.get(task_id) is done:
            del self._running[task_id]
            nets.ended(task_id)
        if not self._running:
            self._idle.set()
        self._freed.set()
        if not done.cancelled() and (fault := done.exception()) is not None:
            _log.error("task_left_to_recovery", task_id=task_id, fault=repr(fault))

    def cancel(self, task_id: str) -> None:
        """Stop a task's call; the wire closes its upstream."""
        if (running := self._running.get(task_id)) is not None:
            running.cancel()

    async def finished(self, task_id: str, timeout_s: float) -> None:
        """Wait at most so long for a task that runs here."""
        if (running := self._running.get(task_id)) is not None:
            await asyncio.wait([running], timeout=timeout_s)

    async def close(self, grace_s: float = 5.0) -> None:
        """Let running calls finish for a while, then stop them: the next start recovers them."""
        if self._waking is not None:
            self._waking.cancel()
            await asyncio.gather(self._waking, return_exceptions=True)
        running = list(self._running.values())
        if running:
            _, late = await asyncio.wait(running, timeout=grace_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)


async def carry(market: Market, job: Job) -> None:
    """One contract for the whole task: one deadline, one money limit, one attempt limit."""
    while True:
        began = time.monotonic()
        try:
            answer = await _call(market, job)
        except Exception as fault:
            failure = _sorted(job, fault)
            spent = Settlement(job.row, job.task, job.attempt, _took(began))
            if failure.kind in LASTING:
                job.hopeless.add(job.attempt.candidate.row)
            following = await _following(market, job, spent, failure)
            if following is None:
                return
            job = following
        else:
            try:
                await settle_answer(market, Settlement(job.row, job.task, job.attempt, _took(began)), answer)
            except LostRace:
                _log.info("answer_came_after_the_end", task_id=job.row.id)
            return


def _sorted(job: Job, fault: Exception) -> Failure:
    """The failure that a wire raised. Anything else is a fault of ours: it is logged, and the task still ends."""
    if isinstance(fault, CallFailed):
        return fault.failure
    _log.error("call_broke", task_id=job.row.id, attempt_id=job.attempt.id, exc_info=fault)
    return _local(FailureKind.CUT, f"The call broke here: {type(fault).__name__}.", possibly_billed=True)


def _took(began: float) -> int:
    return int((time.monotonic() - began) * 1_000_000)


async def _following(market: Market, job: Job, spent: Settlement, failure: Failure) -> Job | None:
    """How the task goes on after a failure: from a spot lane, with a deadline, by a new decision; else down its ladder."""
    if failure.kind is FailureKind.PREEMPTED and (job.has_deadline or job.forgiven < MOST_FORGIVEN):
        job.max_attempts += 1
        job.forgiven += 1
    may_go_on = failure.retry_elsewhere and job.attempt.number < job.max_attempts
    if not (may_go_on and job.has_deadline and job.attempt.candidate.offer.lane in PREEMPTIBLE):
        return job if await _next(market, job, spent, failure) else None
    refused = job.hopeless | {job.attempt.candidate.row}
    at = None if failure.kind is FailureKind.PREEMPTED else await _later(market, job, spent, failure)
    try:
        following = await take_back(market, spent, failure, set(refused), at)
    except LostRace:
        _log.info("take_back_came_after_the_end", task_id=job.row.id)
        return None
    if following is not None:
        following.hopeless |= job.hopeless
    return following


async def _next(market: Market, job: Job, spent: Settlement, failure: Failure) -> bool:
    """Write the failure and start the next attempt in the same commit; False where the task ended."""
    try:
        if not failure.retry_elsewhere:
            await settle_exhausted(market, spent, failure)
            return False
        if await _waits_out(market, job, spent, failure):
            return False
        paused_s = 0.0
        job.hopeless |= {c.row for c in job.ladder if _is_over(c, spent.ended_at)}
        for _ in range(len(job.ladder)):
            upcoming = _upcoming(market, job, spent, failure, paused_s)
            if upcoming is None:
                break
            step, pause_s = upcoming
            job.step = step
            if pause_s > 0:
                await asyncio.sleep(pause_s)
                paused_s += pause_s
            starts_at = spent.ended_at + int(paused_s * 1_000_000)
            candidate = job.ladder[step % len(job.ladder)]
            started = await settle_failure(market, spent, failure, candidate, starts_at)
            if started is not None:
                job.attempt = started
                job.row.version += 1
                job.row.attempts = started.number
                return True
        await settle_exhausted(market, spent, failure, time_is_up=_time_is_up(job, failure))
    except LostRace:
        _log.info("failure_came_after_the_end", task_id=job.row.id)
    except MarketError as fault:
        _log.warning("no_further_attempt", task_id=job.row.id, code=fault.code)
        await settle_exhausted(market, spent, failure)
    return False


async def _waits_out(market: Market, job: Job, spent: Settlement, failure: Failure) -> bool:
    """Queue a task for later whose bids have all failed, or whose last tries are left; False where it goes on now."""
    following = job.step + 1
    left = job.max_attempts - job.attempt.number
    all_failed = all(bid.row in job.hopeless for bid in job.ladder[following:])
    if not job.has_deadline or not (all_failed or left <= kept_tries(job.max_attempts)):
        return False
    at = await _later(market, job, spent, failure)
    if at is not None:
        await wait_out(market, spent, failure, at)
    return at is not None


async def _later(market: Market, job: Job, spent: Settlement, failure: Failure) -> int | None:
    """When the task would try again if it waits, not before its backoff is over."""
    pause_s = _pause_s(market, job, max(job.step + 1, len(job.ladder)), failure)
    return await try_again_at(market, job, spent, failure, spent.ended_at + int(pause_s * 1_000_000))


def _time_is_up(job: Job, failure: Failure) -> bool:
    """Whether it was the last try of a task that had waited for it until its latest start."""
    used_up = job.attempt.number >= job.max_attempts
    return job.outwaited and used_up and failure.provider_fault and failure.kind not in LASTING


def _is_over(candidate: Candidate, now: int) -> bool:
    """A live bid is held to no longer than it was made for; a spot call that would risk the deadline is not begun."""
    if candidate.bid_until is not None and candidate.bid_until <= now:
        return True
    return candidate.return_by is not None and now + 1_000 * candidate.p99_ms > candidate.return_by


def _upcoming(
    market: Market, job: Job, spent: Settlement, failure: Failure, paused_s: float
) -> tuple[int, float] | None:
    """The next bid that keeps the contract, by rank and from the first after the last: its place, and the pause before."""
    if job.attempt.number >= job.max_attempts:
        return None
    pauses_s = [_pause_s(market, job, job.step + 1 + more, failure) for more in range(len(job.ladder))]
    left_s = job.time_left_s(spent.ended_at)
    left = _NO_DEADLINE_US if left_s is None else int((left_s - paused_s) * 1_000_000)
    pauses = [int(pause_s * 1_000_000) for pause_s in pauses_s]
    step = next_step(job.ladder, job.step, left, pauses, job.hopeless)
    return None if step is None else (step, pauses_s[step - job.step - 1])


def _pause_s(market: Market, job: Job, place: int, failure: Failure) -> float:
    """No pause before another bid; backoff, or what the provider asked for, once all have failed."""
    round_number = place // len(job.ladder)
    if round_number == 0:
        return 0.0
    asked = failure.retry_after_s or 0.0 if len(job.ladder) == 1 else 0.0
    backoff: float = market.rules.backoff_s * 2 ** (round_number - 1)
    return min(max(backoff, asked), 30.0)


async def _call(market: Market, job: Job) -> Answer:
    candidate = job.attempt.candidate
    async with market.database.read() as conn:
        provider = await providers.provider_by_name(conn, candidate.offer.provider)
    wire = market.wire_of(provider) if provider is not None else None
    if provider is None or wire is None:
        raise CallFailed(
            _local(FailureKind.MODEL_MISSING, f"No wire for provider {candidate.offer.provider}.")
        )
    return await wire.complete(
        call_of(market, provider, job.attempt, job.task, job.input, _timeout_s(market, job))
    )


def _timeout_s(market: Market, job: Job) -> float:
    """Until the deadline, less what the next bid would need after a failure of this one."""
    left = job.time_left_s(job.attempt.started_at)
    if left is None:
        return market.rules.attempt_timeout_s
    failed = {job.ladder[place % len(job.ladder)].offer.provider for place in range(job.step)}
    called = job.attempt.candidate
    if called.return_by is not None:
        limit = (called.return_by - job.attempt.started_at) / 1_000_000
    else:
        # What may be taken back is nothing to turn to.
        safe = [bid for bid in job.ladder if bid.return_by is None]
        limit = call_limit(safe, called, int(left * 1_000_000), failed) / 1_000_000
    return max(0.1, min(market.rules.attempt_timeout_s, limit))


def _local(kind: FailureKind, detail: str, *, possibly_billed: bool = False) -> Failure:
    return Failure(
        kind=kind,
        detail=detail,
        status=None,
        retry_after_s=None,
        possibly_billed=possibly_billed,
        provider_fault=True,
        retry_elsewhere=True,
        latency_ms=0,
    )
