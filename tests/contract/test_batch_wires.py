"""The batch wires against simulated batch APIs over real HTTP; the simulators are checked by the stock clients."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI

from lowtide.market.usage import Usage
from lowtide.simulate.batches import BatchPlan
from lowtide.simulate.server import serving
from lowtide.simulate.upstream import Upstreams
from lowtide.wire.batch import BatchState, BatchStatus, Result, Seller
from lowtide.wire.call import Answer, Call, CallFailed, Failure, FailureKind
from lowtide.wire.registry import BATCH_WIRES
from lowtide.wire.transport import Transport

HELLO = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Where is my parcel?"}]


@dataclass
class Bench:
    """A batch wire and the simulated seller that it speaks to."""

    wire: Any
    seller: Seller
    upstreams: Upstreams

    def calls(self, count: int, **body: Any) -> dict[str, Call]:
        """Calls under the names c0, c1, …"""
        return {
            f"c{number}": Call(
                base_url=self.seller.base_url,
                api_key=self.seller.api_key,
                upstream_model="sim-small",
                body={"messages": HELLO, **body},
                max_output_tokens=64,
                timeout_s=20,
                idempotency_key=f"c{number}",
            )
            for number in range(count)
        }

    def plan(self, **plan: Any) -> None:
        """How the seller's next batches go."""
        self.upstreams.batches.plans["acme"] = BatchPlan(**plan)

    async def ended(self, batch_id: str) -> BatchStatus:
        """The batch once it has ended."""
        for _ in range(500):
            status: BatchStatus = await self.wire.poll(self.seller, batch_id)
            if status.state.ended:
                return status
            await asyncio.sleep(0.02)
        raise AssertionError(f"{batch_id} has not ended")

    async def results(self, status: BatchStatus) -> dict[str, Answer | Failure | None]:
        """What became of each call that the seller names."""
        found: list[Result] = [result async for result in self.wire.collect(self.seller, status)]
        assert len({name for name, _ in found}) == len(found)
        return dict(found)


@pytest.fixture(params=["openai", "anthropic"])
async def bench(request) -> AsyncIterator[Bench]:
    """A bench of each wire."""
    upstreams, transport = Upstreams(output_tokens=lambda _body: 12), Transport()
    async with serving(upstreams) as base:
        yield Bench(BATCH_WIRES[request.param](transport), Seller(f"{base}/acme/v1", "key"), upstreams)
    await transport.aclose()


async def test_a_batch_is_handed_in_and_its_answers_are_fetched_by_name(bench: Bench):
    status = await bench.wire.submit(bench.seller, "batch_1", bench.calls(5))
    assert (status.state, status.total) == (BatchState.RUNNING, 5)
    status = await bench.ended(status.id)
    assert (status.state, status.done, status.failed) == (BatchState.COMPLETED, 5, 0)
    results = await bench.results(status)
    assert sorted(results) == [f"c{number}" for number in range(5)]
    for answer in results.values():
        assert isinstance(answer, Answer)
        assert (answer.finish_reason, answer.message["role"]) == ("stop", "assistant")
        assert isinstance(answer.usage, Usage)
        assert answer.usage.output == 12


async def test_calls_that_failed_or_were_left_over_are_told_apart(bench: Bench):
    bench.plan(takes_s=0.0, errors=1, undone=2)
    status = await bench.ended((await bench.wire.submit(bench.seller, "batch_1", bench.calls(5))).id)
    assert status.state is BatchState.EXPIRED
    results = await bench.results(status)
    assert isinstance(results["c0"], Answer)
    assert isinstance(results["c1"], Answer)
    assert results["c2"] is None
    assert results["c3"] is None
    failure = results["c4"]
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.SERVER_ERROR


async def test_a_cancelled_batch_keeps_what_was_done_by_then(bench: Bench):
    bench.plan(takes_s=0.4)
    status = await bench.wire.submit(bench.seller, "batch_1", bench.calls(40))
    await asyncio.sleep(0.2)
    await bench.wire.cancel(bench.seller, status.id)
    status = await bench.ended(status.id)
    assert status.state is BatchState.CANCELLED
    results = await bench.results(status)
    done = [answer for answer in results.values() if isinstance(answer, Answer)]
    assert 0 < len(done) < 40
    assert len(results) == 40


async def test_cancelling_what_has_ended_changes_nothing(bench: Bench):
    bench.plan(takes_s=0.0)
    status = await bench.wire.submit(bench.seller, "batch_1", bench.calls(1))
    assert (await bench.wire.cancel(bench.seller, status.id)).state is BatchState.COMPLETED


async def test_an_unknown_batch_is_a_sorted_failure(bench: Bench):
    with pytest.raises(CallFailed) as raised:
        await bench.wire.poll(bench.seller, "batch_none")
    assert raised.value.failure.status == 404


async def test_a_seller_that_cannot_be_reached_is_a_sorted_failure(bench: Bench):
    nobody = replace(bench.seller, base_url="http://127.0.0.1:9/v1")
    with pytest.raises(CallFailed) as raised:
        await bench.wire.submit(nobody, "batch_1", bench.calls(1))
    assert raised.value.failure.kind is FailureKind.CONNECT_FAILED
    assert not raised.value.failure.possibly_billed


@pytest.mark.parametrize("bench", ["openai"], indirect=True)
async def test_a_batch_is_found_again_by_our_name_for_it(bench: Bench):
    made = await bench.wire.submit(bench.seller, "batch_ours", bench.calls(1))
    await bench.wire.submit(bench.seller, "batch_other", bench.calls(1))
    found = await bench.wire.find(bench.seller, "batch_ours")
    assert found is not None
    assert found.id == made.id
    assert await bench.wire.find(bench.seller, "batch_never") is None


@pytest.mark.parametrize("bench", ["openai"], indirect=True)
async def test_a_refused_batch_says_why(bench: Bench):
    bench.plan(takes_s=0.0, refuse="Line 1 has no custom_id.")
    status = await bench.wire.submit(bench.seller, "batch_1", bench.calls(1))
    assert (status.state, status.detail) == (BatchState.REFUSED, "Line 1 has no custom_id.")


@pytest.mark.parametrize("bench", ["anthropic"], indirect=True)
async def test_the_key_is_not_sent_to_another_server_for_results(bench: Bench):
    bench.plan(takes_s=0.0)
    status = await bench.ended((await bench.wire.submit(bench.seller, "b", bench.calls(1))).id)
    away = replace(status, results=("http://elsewhere.example/results",))
    with pytest.raises(CallFailed) as raised:
        await bench.results(away)
    assert raised.value.failure.kind is FailureKind.MALFORMED


@pytest.mark.parametrize("bench", ["anthropic"], indirect=True)
async def test_what_messages_cannot_say_is_left_to_other_providers(bench: Bench):
    for body in ({"n": 2}, {"response_format": {"type": "json_object"}}, {"logprobs": True}):
        with pytest.raises(CallFailed) as raised:
            await bench.wire.submit(bench.seller, "b", bench.calls(1, **body))
        assert raised.value.failure.retry_elsewhere
        assert not raised.value.failure.provider_fault


@pytest.mark.parametrize("bench", ["openai"], indirect=True)
async def test_the_stock_openai_client_finds_the_simulator_true(bench: Bench):
    client = AsyncOpenAI(base_url=bench.seller.base_url, api_key="key")
    body = {"model": "m", "messages": HELLO, "max_completion_tokens": 5}
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body}
    file = await client.files.create(file=io.BytesIO(json.dumps(line).encode()), purpose="batch")
    bench.plan(takes_s=0.0)
    made = await client.batches.create(
        input_file_id=file.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata={"lowtide": "x"},
    )
    done = await client.batches.retrieve(made.id)
    assert (done.status, done.request_counts.completed) == ("completed", 1)  # type: ignore[union-attr]
    answer = json.loads((await client.files.content(done.output_file_id or "")).text)
    assert answer["response"]["body"]["choices"][0]["finish_reason"] == "length"
    assert [batch.id async for batch in client.batches.list()] == [made.id]


@pytest.mark.parametrize("bench", ["anthropic"], indirect=True)
async def test_the_stock_anthropic_client_finds_the_simulator_true(bench: Bench):
    client = AsyncAnthropic(base_url=bench.seller.base_url.removesuffix("/v1"), api_key="key")
    bench.plan(takes_s=0.0)
    params: Any = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]}
    made = await client.messages.batches.create(requests=[{"custom_id": "a", "params": params}])
    done = await client.messages.batches.retrieve(made.id)
    assert done.processing_status == "ended"
    (line,) = [entry async for entry in await client.messages.batches.results(made.id)]
    assert line.result.type == "succeeded"
    assert line.result.message.stop_reason == "max_tokens"


@pytest.mark.parametrize("fault", [b"", b"[]", b"{", b'{"id": 1}'])
@pytest.mark.parametrize("wire", ["openai", "anthropic"])
async def test_an_answer_that_is_no_batch_is_malformed(wire: str, fault: bytes):
    async def answer(_scope: Any, _receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": fault})

    async with httpx.AsyncClient() as _, serving(answer) as base:
        transport = Transport()
        with pytest.raises(CallFailed) as raised:
            await BATCH_WIRES[wire](transport).poll(Seller(base, None), "b")
        assert raised.value.failure.kind is FailureKind.MALFORMED
        await transport.aclose()
