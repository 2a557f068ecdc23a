"""Answers as foreign servers shape them, given by an httpx.MockTransport."""

import gzip
import json

import httpx
import pytest

from lowtide.market.usage import Usage
from lowtide.wire import openai as openai_wire
from lowtide.wire.call import Answer, Call, CallFailed, FailureKind
from lowtide.wire.openai import OpenAIWire

MESSAGE = {"role": "assistant", "content": "hello"}
K = FailureKind


def call() -> Call:
    return Call(
        base_url="https://provider.test/v1/",
        api_key="key",
        upstream_model="m",
        body={"messages": []},
        max_output_tokens=10,
        timeout_s=5,
        idempotency_key="a1",
    )


def completion(message=None, **more) -> dict:
    return {
        "id": "c1",
        "model": "m-1",
        "choices": [{"message": message or MESSAGE, "finish_reason": "stop"}],
    } | more


async def ask(body, status: int = 200, headers: dict | None = None) -> Answer:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = httpx.Response(status, content=content, headers=headers)
    return await OpenAIWire(httpx.MockTransport(lambda request: response)).complete(call())


async def kind_of(body, status: int = 200, headers: dict | None = None) -> FailureKind:
    with pytest.raises(CallFailed) as caught:
        await ask(body, status, headers)
    return caught.value.failure.kind


async def test_the_request_goes_to_the_path_under_the_base_with_key_and_json():
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json=completion())

    await OpenAIWire(httpx.MockTransport(answer)).complete(call())
    assert str(seen[0].url) == "https://provider.test/v1/chat/completions"
    assert seen[0].headers["authorization"] == "Bearer key"
    assert seen[0].headers["idempotency-key"] == "a1"
    assert json.loads(seen[0].content) == {"messages": [], "model": "m", "max_completion_tokens": 10}


async def test_cached_and_reasoning_tokens_stay_inside_the_totals():
    answer = await ask(
        completion(
            usage={
                "prompt_tokens": 100,
                "completion_tokens": 50,
                "prompt_tokens_details": {"cached_tokens": 80, "cache_write_tokens": 5},
                "completion_tokens_details": {"reasoning_tokens": 30},
            }
        )
    )
    assert answer.usage == Usage(input=100, output=50, cached=80, cache_write=5, reasoning=30)


@pytest.mark.parametrize("usage", [None, {}])
async def test_usage_that_is_not_told_is_not_made_up(usage):
    assert (await ask(completion(usage=usage))).usage is None


async def test_details_that_are_null_count_as_none():
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "prompt_tokens_details": None}
    assert (await ask(completion(usage=usage))).usage == Usage(input=3, output=2)


async def test_tool_calls_without_text_are_an_answer():
    tools = {"role": "assistant", "content": None, "tool_calls": [{"id": "t1"}]}
    assert (await ask(completion(tools))).message["tool_calls"] == [{"id": "t1"}]


async def test_a_packed_answer_is_unpacked():
    packed = gzip.compress(json.dumps(completion()).encode())
    assert (await ask(packed, headers={"content-encoding": "gzip"})).message == MESSAGE


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        [],
        {},
        {"choices": []},
        {"choices": [{}]},
        {"choices": ["hello"]},
        {"choices": [{"message": "hello"}]},
        completion(usage={"prompt_tokens": -1}),
        completion(usage={"prompt_tokens": "many"}),
        completion(usage={"prompt_tokens": 10**12}),
        completion(usage={"completion_tokens": 3}),
        completion(usage="12"),
    ],
)
async def test_what_is_no_chat_completion_is_malformed(body):
    assert await kind_of(body) is K.MALFORMED


async def test_an_answer_that_cannot_be_unpacked_is_malformed():
    response = httpx.Response(200, stream=httpx.ByteStream(b"plain"), headers={"content-encoding": "gzip"})
    with pytest.raises(CallFailed) as caught:
        await OpenAIWire(httpx.MockTransport(lambda request: response)).complete(call())
    assert caught.value.failure.kind is K.MALFORMED


async def test_an_answer_over_the_limit_is_not_read_to_its_end(monkeypatch):
    monkeypatch.setattr(openai_wire, "MAX_ANSWER_BYTES", 1_000)
    assert await kind_of(completion({"role": "assistant", "content": "x" * 2_000})) is K.MALFORMED


@pytest.mark.parametrize("content", ["", None])
async def test_neither_text_nor_tool_calls_is_empty(content):
    assert await kind_of(completion({"role": "assistant", "content": content})) is K.EMPTY


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": 429, "message": "busy"}, K.RATE_LIMITED),
        ({"code": "oops", "message": "broke"}, K.SERVER_ERROR),
        ({"code": None, "message": None}, K.SERVER_ERROR),
        ("broke", K.SERVER_ERROR),
    ],
)
async def test_an_error_under_status_200_is_an_error(error, kind):
    assert await kind_of({"error": error}) is kind


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (
            {"error": {"message": "too long", "type": "x", "code": "context_length_exceeded"}},
            K.CONTEXT_TOO_LONG,
        ),
        (
            {"error": {"message": "no money", "type": "insufficient_quota", "code": None}},
            K.REFUSED_CREDENTIAL,
        ),
        ({"error": {"code": 400, "message": "bad"}}, K.CALLER_ERROR),
        ({"error": "bad"}, K.CALLER_ERROR),
        ({"detail": "bad"}, K.CALLER_ERROR),
        (b"<html>", K.CALLER_ERROR),
    ],
)
async def test_an_error_body_of_any_shape_is_sorted(body, kind):
    assert await kind_of(body, status=400) is kind


async def test_a_full_pool_of_ours_is_no_mark_against_the_provider():
    def full(request: httpx.Request) -> httpx.Response:
        raise httpx.PoolTimeout("full", request=request)

    with pytest.raises(CallFailed) as caught:
        await OpenAIWire(httpx.MockTransport(full)).complete(call())
    failure = caught.value.failure
    assert (failure.provider_fault, failure.retry_elsewhere, failure.possibly_billed) == (False, True, False)
