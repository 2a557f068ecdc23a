"""The stock `openai` client against the simulated upstreams, over real HTTP."""

from collections.abc import AsyncIterator

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from lowtide.simulate.faults import Fault
from lowtide.simulate.server import UpstreamThread, serving
from lowtide.simulate.upstream import Upstreams

MESSAGES = [{"role": "user", "content": "Where is my order, please?"}]
MODEL = "sim-small"


@pytest.fixture
def upstreams() -> Upstreams:
    return Upstreams(output_tokens=lambda body: 25, models={"acme": [MODEL]})


@pytest.fixture
async def client(upstreams: Upstreams) -> AsyncIterator[AsyncOpenAI]:
    async with (
        serving(upstreams) as base,
        AsyncOpenAI(base_url=f"{base}/acme/v1", api_key="sim", max_retries=0, timeout=10) as made,
    ):
        yield made


async def ask(client: AsyncOpenAI, **more):
    return await client.chat.completions.create(model=MODEL, messages=MESSAGES, **more)


async def test_a_completion_parses_with_its_usage_and_says_that_it_is_simulated(client):
    answer = await ask(client, service_tier="flex")
    assert answer.object == "chat.completion"
    assert answer.model == MODEL
    assert answer.system_fingerprint == "simulator"
    assert answer.service_tier == "flex"
    assert answer.choices[0].finish_reason == "stop"
    assert len(answer.choices[0].message.content.split()) == 25
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (7, 25)
    assert answer.usage.total_tokens == 32
    assert answer.usage.prompt_tokens_details.cached_tokens == 0
    assert answer.usage.completion_tokens_details.reasoning_tokens == 0


async def test_every_response_names_the_simulator_in_a_header(client):
    raw = await client.chat.completions.with_raw_response.create(model=MODEL, messages=MESSAGES)
    assert raw.headers["x-simulator"] == "lowtide"
    assert raw.headers["x-request-id"]


async def test_an_answer_longer_than_the_limit_is_cut_there_and_says_length(client):
    answer = await ask(client, max_completion_tokens=10)
    assert answer.usage.completion_tokens == 10
    assert answer.choices[0].finish_reason == "length"


async def test_a_stream_tells_usage_in_its_last_chunk_and_in_no_other(client):
    stream = await ask(client, stream=True, stream_options={"include_usage": True})
    chunks = [chunk async for chunk in stream]
    whole = await ask(client)
    assert "".join(c.choices[0].delta.content or "" for c in chunks[:-1]) == whole.choices[0].message.content
    assert len({chunk.id for chunk in chunks}) == 1
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage
    assert chunks[-2].choices[0].finish_reason == "stop"


async def test_a_stream_tells_no_usage_unless_it_is_asked(client):
    chunks = [chunk async for chunk in await ask(client, stream=True)]
    assert all("usage" not in chunk.model_fields_set for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason == "stop"


async def test_the_models_of_a_provider_are_listed_and_no_other_is_known(client):
    assert [model.id async for model in client.models.list()] == [MODEL]
    with pytest.raises(openai.NotFoundError) as caught:
        await client.chat.completions.create(model="other", messages=MESSAGES)
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize(
    ("kind", "raised"),
    [
        ("rate_limit", openai.RateLimitError),
        ("bad_request", openai.BadRequestError),
        ("unauthorized", openai.AuthenticationError),
        ("server_error", openai.InternalServerError),
        ("overloaded", openai.InternalServerError),
        ("cut", openai.APIConnectionError),
    ],
)
async def test_a_fault_raises_the_clients_own_exception(client, upstreams, kind, raised):
    upstreams.fail("acme", Fault(kind, times=1))
    with pytest.raises(raised):
        await ask(client)
    assert (await ask(client)).usage.completion_tokens == 25


async def test_the_client_retries_by_itself_after_the_wait_it_was_asked_for(client, upstreams):
    upstreams.fail("acme", Fault("rate_limit", times=1, retry_after_s=0.01))
    answer = await ask(client.with_options(max_retries=1))
    assert answer.choices[0].message.content
    assert (upstreams.seen("acme").calls, upstreams.seen("acme").answered) == (2, 1)


async def test_a_stream_that_is_cut_ends_in_an_error_without_usage(client, upstreams):
    upstreams.fail("acme", Fault("cut", times=1))
    chunks = []
    stream = await ask(client, stream=True, stream_options={"include_usage": True})

    async def read() -> None:
        async for chunk in stream:
            chunks.append(chunk)  # noqa: PERF401 (what came before the cut is looked at)

    with pytest.raises(openai.APIConnectionError):
        await read()
    assert chunks
    assert all(chunk.usage is None for chunk in chunks)


async def test_faults_are_set_and_cleared_and_counts_read_over_http(client):
    base = str(client.base_url).removesuffix("/acme/v1/")
    http = client.with_options(base_url=base)
    told = {"provider": "acme", "kind": "server_error", "model": MODEL}
    await http.post("/_simulator/faults", body=told, cast_to=object)
    with pytest.raises(openai.InternalServerError):
        await ask(client)
    await http.delete("/_simulator/faults", body={"provider": "acme"}, cast_to=object)
    await ask(client, extra_headers={"Idempotency-Key": "k1"})
    seen = await http.get("/_simulator/stats", cast_to=object)
    assert seen["providers"]["acme"] == {
        "calls": 2,
        "answered": 1,
        "disconnected": 0,
        "most_at_once": 1,
        "connections": 1,
        "keys": ["k1"],
    }


@pytest.mark.parametrize(
    "told",
    [
        {"kind": "server_error"},
        {"provider": "acme", "kind": "bored"},
        {"provider": "acme", "kind": "cut", "times": 0},
        {"provider": "acme", "kind": "cut", "delay_s": -1},
        {"provider": "acme", "kind": "cut", "colour": "red"},
    ],
)
async def test_a_fault_that_makes_no_sense_is_refused(client, told):
    http = client.with_options(base_url=str(client.base_url).removesuffix("/acme/v1/"))
    with pytest.raises(openai.BadRequestError):
        await http.post("/_simulator/faults", body=told, cast_to=object)


async def test_a_body_without_messages_is_refused_as_the_real_one_refuses_it(client):
    with pytest.raises(openai.BadRequestError, match="messages"):
        await client.chat.completions.create(model=MODEL, messages=[])


def test_a_caller_without_an_event_loop_gets_the_upstreams_on_a_thread():
    upstreams = Upstreams()
    with (
        UpstreamThread(upstreams) as base,
        OpenAI(base_url=f"{base}/acme/v1", api_key="sim", max_retries=0, timeout=10) as client,
    ):
        first = client.chat.completions.create(model="any", messages=MESSAGES)
        again = client.chat.completions.create(model="any", messages=MESSAGES)
    assert first.choices[0].message == again.choices[0].message
    assert upstreams.seen("acme").answered == 2
