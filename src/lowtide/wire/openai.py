"""OpenAI chat completions, and everything that speaks it. Cached and reasoning tokens stand inside the totals there."""

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import httpx
import orjson

from lowtide.market.usage import Usage
from lowtide.wire.asking import MAX_ANSWER_BYTES, asked, authorization, elapsed_ms, failed
from lowtide.wire.call import Answer, Call, CallFailed, Failure, FailureKind
from lowtide.wire.failures import failure, kind_of_status, retry_after
from lowtide.wire.preemption import as_sold

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
        try:
            return await self._complete(call)
        except CallFailed as found:
            raise as_sold(call, found) from found

    async def _complete(self, call: Call) -> Answer:
        began = time.monotonic()
        status, headers, raw = await asked(
            self._transport, _request(call, began), call.timeout_s, began, MAX_ANSWER_BYTES
        )
        if not 200 <= status < 300:
            raise CallFailed(refusal(status, headers, raw, began))
        try:
            body = orjson.loads(raw)
        except orjson.JSONDecodeError as fault:
            raise failed(FailureKind.MALFORMED, f"Not a chat completion: {fault}", began) from fault
        return answer_of(body, headers, raw, began)


def answer_of(body: Any, headers: httpx.Headers, raw: bytes, began: float) -> Answer:
    """The answer that a chat completion's body is. Raises CallFailed."""
    try:
        if "choices" not in body and "error" in body:  # some send a late error under status 200
            raise CallFailed(refusal(_status_in(body["error"]), headers, raw, began))
        choice = body["choices"][0]
        message = choice["message"]
        if not isinstance(message, dict):
            raise TypeError("message is no object")
        usage = usage_of(body.get("usage"))
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as fault:
        raise failed(FailureKind.MALFORMED, f"Not a chat completion: {fault}", began) from fault
    if not (
        message.get("content") or message.get("tool_calls") or message.get("refusal") or message.get("audio")
    ):
        raise failed(FailureKind.EMPTY, "The answer has neither text nor tool calls.", began)
    return Answer(
        message,
        choice.get("finish_reason"),
        usage,
        body.get("model"),
        body.get("service_tier"),
        headers.get("x-request-id") or body.get("id"),
        elapsed_ms(began),
    )


def _request(call: Call, began: float) -> httpx.Request:
    headers = {
        "content-type": "application/json",
        "accept": "application/json",
        "accept-encoding": "gzip, deflate",
        "user-agent": "lowtide",
        "idempotency-key": call.idempotency_key,
        **authorization(call.api_key, began),
    }
    limits = {
        "connect": call.connect_s,
        "read": call.idle_s,
        "write": call.idle_s,
        "pool": call.connect_s,
    }
    try:
        content = orjson.dumps(sent(call))
    except orjson.JSONEncodeError as fault:
        raise failed(FailureKind.CALLER_ERROR, f"The body is no JSON: {fault}", began) from fault
    url = f"{call.base_url.rstrip('/')}/chat/completions"
    try:
        return httpx.Request("POST", url, headers=headers, content=content, extensions={"timeout": limits})
    except httpx.InvalidURL as fault:
        raise failed(FailureKind.CONNECT_FAILED, f"Bad base URL: {fault}", began) from fault


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


def refusal(status: int, headers: httpx.Headers, raw: bytes, began: float) -> Failure:
    """The failure that an error status is, with the wire's own code and words."""
    code, text = error_of(raw)
    found = failure(
        kind_of_status(status, code, text),
        f"HTTP {status}: {text}",
        elapsed_ms(began),
        status=status,
        retry_after_s=retry_after(headers),
    )
    return replace(found, codes=codes_of(raw), usage=_usage_in(raw))


def codes_of(raw: bytes) -> tuple[str, ...]:
    """The code and the type that an error body gives, whichever it has."""
    try:
        error = orjson.loads(raw)["error"]
        return tuple(str(error[name]) for name in ("code", "type") if error.get(name) is not None)
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return ()


def _usage_in(raw: bytes) -> Usage | None:
    """What an error body says was used, None where it says nothing that can be counted."""
    try:
        return usage_of(orjson.loads(raw).get("usage"))
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError):
        return None
