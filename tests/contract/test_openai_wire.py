"""The OpenAI wire against the simulated upstreams, over real HTTP."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from lowtide.market.usage import Usage
from lowtide.simulate.faults import Fault
from lowtide.simulate.server import serving
from lowtide.simulate.upstream import Upstreams
from lowtide.wire.call import Answer, Call, CallFailed, Failure, FailureKind
from lowtide.wire.openai import OpenAIWire
from lowtide.wire.registry import WIRES
from lowtide.wire.transport import Transport

BODY = {"messages": [{"role": "user", "content": "Where is my order, please?"}], "temperature": 0.2}


class Bench:
    """A wire, the upstreams it calls, and the bodies that came to them."""

    def __init__(self) -> None:
        self.bodies: list[dict] = []
        self.upstreams = Upstreams(output_tokens=self._length, models={"strict": ["known"]})
        self.transport = Transport()
        self.wire = OpenAIWire(self.transport)
        self.call: Call

    def _length(self, body) -> int:
        self.bodies.append(dict(body))
        return 12

    @property
    def seen(self):
        return self.upstreams.seen("acme")

    def fail(self, kind, **more) -> None:
        self.upstreams.fail("acme", Fault(kind, **more))

    async def complete(self, **changes) -> Answer:
        return await self.wire.complete(replace(self.call, **changes))

    async def failure(self, **changes) -> Failure:
        with pytest.raises(CallFailed) as caught:
            await self.complete(**changes)
        return caught.value.failure


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    async with serving(made.upstreams) as base:
        made.call = Call(
            base_url=f"{base}/acme/v1",
            api_key="sim-key",
            upstream_model="sim-small",
            body=BODY,
            max_output_tokens=64,
            timeout_s=20,
            idempotency_key="attempt-1",
        )
        yield made
        await made.transport.aclose()


async def until(condition) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 (the server's counts have no event to wait for)
            await asyncio.sleep(0.002)


async def test_an_answer_brings_message_usage_tier_and_ids(bench):
    answer = await bench.complete(service_tier="flex")
    assert answer.message["role"] == "assistant"
    assert len(answer.message["content"].split()) == 12
    assert answer.finish_reason == "stop"
    assert answer.usage == Usage(input=7, output=12)
    assert answer.model == "sim-small"
    assert answer.service_tier == "flex"
    assert answer.request_id == "req-sim-1"
    assert answer.latency_ms >= 0
    assert answer.first_token_ms is None


async def test_the_requesters_fields_go_on_and_what_the_award_decides_replaces_theirs(bench):
    tools = [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}]
    asked = BODY | {
        "tools": tools,
        "x_unknown": {"kept": True},
        "model": "theirs",
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_output_tokens": 9_999,
        "max_tokens": 9_999,
        "service_tier": "priority",
    }
    await bench.complete(body=asked)
    assert bench.bodies[-1] == BODY | {
        "tools": tools,
        "x_unknown": {"kept": True},
        "model": "sim-small",
        "max_completion_tokens": 64,
    }


async def test_the_output_limit_goes_under_the_name_that_the_provider_knows(bench):
    await bench.complete(max_tokens_field="max_tokens")
    assert bench.bodies[-1]["max_tokens"] == 64
    assert "max_completion_tokens" not in bench.bodies[-1]


async def test_the_idempotency_key_reaches_the_provider(bench):
    await bench.complete(idempotency_key="attempt-7")
    assert bench.seen.keys == ["attempt-7"]


@pytest.mark.parametrize(
    ("fault", "kind", "status", "billed", "at_fault", "elsewhere"),
    [
        ("rate_limit", FailureKind.RATE_LIMITED, 429, False, True, True),
        ("server_error", FailureKind.SERVER_ERROR, 500, False, True, True),
        ("overloaded", FailureKind.OVERLOADED, 503, False, True, True),
        ("bad_request", FailureKind.CALLER_ERROR, 400, False, False, False),
        ("unauthorized", FailureKind.REFUSED_CREDENTIAL, 401, False, True, True),
        ("cut", FailureKind.CUT, None, True, True, True),
        ("malformed_json", FailureKind.MALFORMED, None, True, True, True),
        ("empty", FailureKind.EMPTY, None, True, True, True),
    ],
)
async def test_each_fault_is_sorted(bench, fault, kind, status, billed, at_fault, elsewhere):
    bench.fail(fault, times=1)
    failure = await bench.failure()
    assert (failure.kind, failure.status) == (kind, status)
    assert (failure.possibly_billed, failure.provider_fault, failure.retry_elsewhere) == (
        billed,
        at_fault,
        elsewhere,
    )
    assert failure.detail
    assert (await bench.complete()).usage == Usage(input=7, output=12)


async def test_a_model_that_the_provider_does_not_have_is_told_as_missing(bench):
    failure = await bench.failure(base_url=bench.call.base_url.replace("acme", "strict"))
    assert (failure.kind, failure.status, failure.retry_elsewhere) == (FailureKind.MODEL_MISSING, 404, True)


async def test_a_refused_connection_was_never_billed(bench):
    failure = await bench.failure(base_url="http://127.0.0.1:1/v1")
    assert (failure.kind, failure.possibly_billed) == (FailureKind.CONNECT_FAILED, False)
    assert failure.retry_elsewhere


@pytest.mark.parametrize("base_url", ["ftp://127.0.0.1/v1", "127.0.0.1/v1", "http://[half/v1", ""])
async def test_a_base_url_that_is_none_fails_before_anything_is_sent(bench, base_url):
    failure = await bench.failure(base_url=base_url)
    assert (failure.kind, failure.possibly_billed) == (FailureKind.CONNECT_FAILED, False)


@pytest.mark.parametrize("key", ["two\nlines", "clé"])
async def test_a_credential_that_no_header_can_carry_is_refused_without_being_shown(bench, key):
    failure = await bench.failure(api_key=key)
    assert failure.kind is FailureKind.REFUSED_CREDENTIAL
    assert key not in failure.detail
    assert bench.seen.calls == 0


async def test_retry_after_is_read_in_seconds_and_in_milliseconds(bench):
    bench.fail("rate_limit", times=1, retry_after_s=7)
    assert (await bench.failure()).retry_after_s == 7.0
    bench.fail("rate_limit", times=1, retry_after_s=0.25)
    assert (await bench.failure()).retry_after_s == 0.25


async def test_retry_after_is_read_as_an_http_date(bench):
    moment = datetime.now(UTC) + timedelta(hours=1)
    bench.fail("overloaded", times=1, retry_after=format_datetime(moment, usegmt=True))
    waits = (await bench.failure()).retry_after_s
    assert waits is not None
    assert 3_500 < waits <= 3_600


async def test_the_whole_deadline_ends_a_call_that_hangs_and_closes_it_upstream(bench):
    bench.fail("hang", times=1)
    began = time.monotonic()
    failure = await bench.failure(timeout_s=0.1)
    assert time.monotonic() - began < 5
    assert (failure.kind, failure.possibly_billed) == (FailureKind.ANSWER_TIMEOUT, True)
    assert failure.latency_ms >= 95
    await until(lambda: bench.seen.disconnected == 1)


async def test_a_first_byte_that_does_not_come_in_time_ends_the_call(bench):
    bench.fail("hang", times=1)
    failure = await bench.failure(idle_s=0.1)
    assert failure.kind is FailureKind.ANSWER_TIMEOUT
    await until(lambda: bench.seen.disconnected == 1)


async def test_a_slow_first_token_within_the_deadline_is_an_answer(bench):
    bench.fail("slow_first_token", times=1, delay_s=0.05)
    assert (await bench.complete()).latency_ms >= 45


async def test_a_cancel_propagates_and_closes_the_call_upstream(bench):
    bench.fail("hang", times=1)
    call = asyncio.create_task(bench.complete())
    await until(lambda: bench.seen.calls == 1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await until(lambda: bench.seen.disconnected == 1)
    assert bench.seen.answered == 0


async def test_calls_one_after_another_share_one_connection(bench):
    for _ in range(5):
        await bench.complete()
    assert (bench.seen.calls, len(bench.seen.connections)) == (5, 1)


async def test_an_error_leaves_the_connection_usable_and_a_cut_does_not(bench):
    bench.fail("rate_limit", times=1)
    await bench.failure()
    await bench.complete()
    assert len(bench.seen.connections) == 1
    bench.fail("cut", times=1)
    await bench.failure()
    await bench.complete()
    assert len(bench.seen.connections) == 2


async def test_many_calls_at_once_all_come_back(bench):
    answers = await asyncio.gather(*(bench.complete(idempotency_key=f"a{n}") for n in range(64)))
    assert len({answer.request_id for answer in answers}) == 64
    assert sorted(bench.seen.keys) == sorted(f"a{n}" for n in range(64))


async def test_a_drop_after_the_request_was_sent_may_have_been_billed(bench):
    async def drop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(drop, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        failure = await bench.failure(base_url=f"http://127.0.0.1:{port}/v1")
    assert (failure.kind, failure.possibly_billed) == (FailureKind.CUT, True)


def test_the_registry_makes_the_wire_by_its_name():
    assert isinstance(WIRES["openai"](Transport()), OpenAIWire)


async def test_a_take_back_on_a_spot_lane_is_its_own_failure_and_nobodys_fault(bench):
    bench.fail("preempted", charges=True)
    failure = await bench.failure(preemptible=True)
    assert failure.kind is FailureKind.PREEMPTED
    assert (failure.status, failure.provider_fault, failure.retry_elsewhere) == (503, False, True)
    assert failure.usage == Usage(input=7, output=0)


async def test_a_cut_answer_on_a_spot_lane_is_a_take_back_that_may_be_billed(bench):
    bench.fail("cut")
    failure = await bench.failure(preemptible=True)
    assert (failure.kind, failure.provider_fault, failure.possibly_billed) == (
        FailureKind.PREEMPTED,
        False,
        True,
    )


async def test_on_any_other_lane_the_same_words_are_the_providers_fault(bench):
    bench.fail("preempted", times=1)
    assert (await bench.failure()).kind is FailureKind.OVERLOADED
    bench.fail("cut")
    assert (await bench.failure()).kind is FailureKind.CUT


async def test_a_spot_lane_fails_in_other_ways_as_any_lane(bench):
    for kind in ("rate_limit", "server_error", "overloaded", "unauthorized"):
        bench.fail(kind, times=1)
        assert (await bench.failure(preemptible=True)).provider_fault


async def test_a_plan_of_take_backs_hits_the_same_share_of_calls_for_the_same_seed(bench):
    async def hits(seed: int) -> list[bool]:
        bench.upstreams.heal("acme")
        bench.fail("preempted", share=0.3, seed=seed)
        found = []
        for _ in range(40):
            try:
                await bench.complete(preemptible=True)
                found.append(False)
            except CallFailed:
                found.append(True)
        return found

    first = await hits(1)
    assert first == await hits(1) != await hits(2)
    assert 5 <= sum(first) <= 20
