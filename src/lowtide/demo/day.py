"""Playing the day: the clock is stepped to each ticket and to whatever is due, never while work is in flight."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx

from lowtide.app import Running
from lowtide.demo.plan import Plan
from lowtide.simulate.clock import SteppedClock
from lowtide.simulate.completions import usual_tokens
from lowtide.simulate.desk import Ticket
from lowtide.store import tasks
from lowtide.values.errors import Unavailable
from lowtide.values.instants import MINUTE_US, instant, micros, rfc3339
from lowtide.values.money import usd

_HOUSEKEEPING_US = 10 * MINUTE_US
Progress = Callable[[int, Mapping[str, int]], None]


class AnswerLengths:
    """Tells the simulators how long the answer to each ticket is."""

    def __init__(self, tickets: Sequence[Ticket]) -> None:
        self._tokens = {_digest(ticket.prompt): ticket.output_tokens for ticket in tickets}

    def __call__(self, body: Mapping[str, Any]) -> int:
        content = body["messages"][-1]["content"]
        return self._tokens.get(_digest(str(content)), usual_tokens(body))


def _digest(prompt: str) -> bytes:
    return hashlib.sha256(prompt.encode()).digest()


def task_body(ticket: Ticket, plan: Plan) -> dict[str, Any]:
    """The ticket as anybody would post it to /v1/tasks."""
    constraints: dict[str, Any] = {
        "min_quality": ticket.min_quality_ppm / 1_000_000,
        "max_cost_usd": usd(ticket.max_cost_nano),
        "domain": f"{ticket.domain}.{ticket.ticket_class}",
    }
    if ticket.may_wait:
        constraints["complete_by"] = rfc3339(plan.morning_after(ticket.arrival_us))
    return {
        "task_type": f"{ticket.domain}.{ticket.ticket_class}",
        "constraints": constraints,
        "input": {
            "messages": [{"role": "user", "content": ticket.prompt}],
            "max_output_tokens": ticket.max_output_tokens,
        },
        "labels": {"desk": "support", "class": ticket.ticket_class, "ticket": str(ticket.number)},
    }


class Day:
    """One played day: a running market, its stepped clock, and a client that posts over HTTP."""

    def __init__(self, running: Running, clock: SteppedClock, client: httpx.AsyncClient, plan: Plan) -> None:
        self._running, self._clock, self._client, self._plan = running, clock, client, plan
        self._kept_at = 0

    async def play(self, tickets: Sequence[Ticket], progress: Progress) -> None:
        """Post every ticket at its arrival, releasing what comes due on the way; ends when the day does."""
        for ticket in tickets:
            await self._pass_time(ticket.arrival_us)
            await self._post(ticket)
            if ticket.number % 10 == 0:
                progress(ticket.number, await self.counts())
        await self._pass_time(micros(self._plan.ends))
        await self._housekeeping()
        # Nothing ticks here: without this `lowtide savings` would be empty until the market is served.
        await self._running.sweeps.hindsight()
        progress(len(tickets), await self.counts())

    async def counts(self) -> dict[str, int]:
        """Tasks by state."""
        async with self._running.market.database.read() as conn:
            return await tasks.counts_by_state(conn)

    async def _post(self, ticket: Ticket) -> None:
        answer = await self._client.post(
            "/v1/tasks",
            json=task_body(ticket, self._plan),
            headers={"Idempotency-Key": f"demo-ticket-{ticket.number}"},
        )
        if answer.status_code not in (201, 422):
            raise Unavailable(
                f"Ticket {ticket.number} was not taken: HTTP {answer.status_code} {answer.text[:200]}"
            )

    async def _pass_time(self, until_us: int) -> None:
        market, tried = self._running.market, None
        while True:
            await self._running.dispatcher.idle()
            async with market.database.read() as conn:
                due = await tasks.next_due(conn)
            if due is None or due > until_us or due == tried:
                break
            self._clock.advance_to(instant(due))
            await self._running.sweeps.release()
            tried = due
        self._clock.advance_to(instant(until_us))
        if until_us - self._kept_at >= _HOUSEKEEPING_US:
            self._kept_at = until_us
            await self._housekeeping()

    async def _housekeeping(self) -> None:
        await self._running.dispatcher.idle()
        await self._running.sweeps.conditions()
        await self._running.sweeps.number_leaves()
