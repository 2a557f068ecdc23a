"""OpenAI chat completions, and everything that speaks it. Cached and reasoning tokens stand inside the totals there."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import httpx
import orjson

from lowtide.market.usage import Usage
from lowtide.wire.call import Answer, Call, CallFailed, Failure, FailureKind
from lowtide.wire.failures import failure, kind_of_exception, kind_of_status, retry_after

MAX_ANSWER_BYTES = 16 * 1024 * 1024
MOST_TOKENS = 2**31
"""A reported count beyond this is no count: its charge would leave the ledger's integers."""
# Left out of the requester's body: what the call itself decides, the tier too, for the award bought it.
_OURS = frozenset(
    {
        *("model", "stream", "stream_options", "service_tier"),
        *("max_tokens", "max_completion_tokens", "max_output_tokens"),
    }
)


class OpenAIWire:
    """POST {base_url}/chat/completions, without a stream."""

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self._transport = transport

    async def complete(self, call: Call) -> Answer:
        """Do the call within its deadlines. Raises CallFailed with the failure sorted."""
        began = time.monotonic()
        request = _request(call, began)
        try:
            async with asyncio.timeout(call.timeout_s):
                status, headers, raw = await self._exchange(request)
        except TimeoutError:
            detail = f"No answer within {call.timeout_s:.1f} s."
            raise _failed(FailureKind.ANSWER_TIMEOUT, detail, began) from None
        except httpx.PoolTimeout as fault:
            # Our own pool is full: no mark against the provider.
            full = failure(FailureKind.CONNECT_TIMEOUT, str(fault), _ms(began))
            raise CallFailed(replace(full, provider_fault=False)) from fault
        except httpx.HTTPError as fault:
            raise _failed(kind_of_exception(fault), str(fault) or type(fault).__name__, began) from fault
        if raw is None:
            raise _failed(FailureKind.MALFORMED, f"The answer is over {MAX_ANSWER_BYTES} bytes.", began)
        if not 200 <= status < 300:
            raise CallFailed(_refusal(status, headers, raw, began))
        return self._answer(raw, headers, began)

    async def _exchange(self, request: httpx.Request) -> tuple[int, httpx.Headers, bytes | None]:
        response = await self._transport.handle_async_request(request)
        try:
            chunks, size = [], 0
            async for chunk in response.aiter_bytes():
                chunks.append(chunk)
                size += len(chunk)
                if size > MAX_ANSWER_BYTES:
                    return response.status_code, response.headers, None
            return response.status_code, response.headers, b"".join(chunks)
        finally:
            await response.aclose()

    def _answer(self, raw: bytes, headers: httpx.Headers, began: float) -> Answer:
        try:
            body = orjson.loads(raw)
            if "choices" not in body and "error" in body:  # some send a late error under status 200
                raise CallFailed(_refusal(_status_in(body["error"]), headers, raw, began))
            choice = body["choices"][0]
            message = choice["message"]
            if not isinstance(message, dict):
                raise TypeError("message is no object")
            usage = usage_of(body.get("usage"))
        except (orjson.JSONDecodeError, KeyError, IndexError, TypeError, ValueError, AttributeError) as fault:
            raise _failed(FailureKind.MALFORMED, f"Not a chat completion: {fault}", began) from fault
        if not (
            message.get("content")
            or message.get("tool_calls")
            or message.get("refusal")
            or message.get("audio")
        ):
            raise _failed(FailureKind.EMPTY, "The answer has neither text nor tool calls.", began)
        return Answer(
            message,
            choice.get("finish_reason"),
            usage,
            body.get("model"),
            body.get("service_tier"),
            headers.get("x-request-id") or body.get("id"),
            _ms(began),
        )


def _request(call: Call, began: float) -> httpx.Request:
    headers = {
        "content-type": "application/json",
        "accept": "application/json",
        "accept-encoding": "gzip, deflate",
        "user-agent": "lowtide",
        "idempotency-key": call.idempotency_key,
    }
    if call.api_key:
        if not (call.api_key.isascii() and call.api_key.isprintable()):
            detail = "The credential has characters that a header cannot carry. Set it anew."
            raise _failed(FailureKind.REFUSED_CREDENTIAL, detail, began)
        headers["authorization"] = f"Bearer {call.api_key}"
    limits = {
        "connect": call.connect_s,
        "read": call.idle_s,
        "write": call.idle_s,
        "pool": call.connect_s,
    }
    try:
        content = orjson.dumps(sent(call))
    except orjson.JSONEncodeError as fault:
        raise _failed(FailureKind.CALLER_ERROR, f"The body is no JSON: {fault}", began) from fault
    url = f"{call.base_url.rstrip('/')}/chat/completions"
    try:
        return httpx.Request("POST", url, headers=headers, content=content, extensions={"timeout": limits})
    except httpx.InvalidURL as fault:
        raise _failed(FailureKind.CONNECT_FAILED, f"Bad base URL: {fault}", began) from fault


def sent(call: Call) -> dict[str, Any]:
    """The body that goes upstream: the requester's fields, with our model, limit and tier."""
    body = {name: value for name, value in call.body.items() if name not in _OURS}
    body |= {"model": call.upstream_model, call.max_tokens_field: call.max_output_tokens}
    if call.service_tier is not None:
        body["service_tier"] = call.service_tier
    return body


def usage_of(reported: Mapping[str, Any] | None) -> Usage | None:
    """Tokens as reported, None where nothing was. Raises TypeError or ValueError where they are no counts."""
    if not reported:
        return None
    prompt, completion = (
        reported.get("prompt_tokens_details") or {},
        reported.get("completion_tokens_details") or {},
    )
    counts = (
        reported["prompt_tokens"],
        reported.get("completion_tokens") or 0,
        prompt.get("cached_tokens") or 0,
        prompt.get("cache_write_tokens") or 0,
        completion.get("reasoning_tokens") or 0,
    )
    if any(
        isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= MOST_TOKENS
        for count in counts
    ):
        raise ValueError("usage is no count of tokens")
    return Usage(*counts)


def error_of(raw: bytes) -> tuple[str | None, str]:
    """Code (or type) and message of an error body in OpenAI's shape; the body's beginning where it has another."""
    try:
        error = orjson.loads(raw)["error"]
        code = error.get("code") or error.get("type")
        return (str(code) if code is not None else None), str(error.get("message") or error)
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return None, raw[:200].decode(errors="replace")


def _status_in(error: Any) -> int:
    """The HTTP status that an error object names as its code; 502 where it names none."""
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, int) and 400 <= code < 600 else 502


def _refusal(status: int, headers: httpx.Headers, raw: bytes, began: float) -> Failure:
    code, text = error_of(raw)
    return failure(
        kind_of_status(status, code, text),
        f"HTTP {status}: {text}",
        _ms(began),
        status=status,
        retry_after_s=retry_after(headers),
    )


def _ms(began: float) -> int:
    return round((time.monotonic() - began) * 1_000)


def _failed(kind: FailureKind, detail: str, began: float) -> CallFailed:
    return CallFailed(failure(kind, detail, _ms(began)))
