"""Anthropic's Messages: a request in the OpenAI chat shape as its parameters, and its message as an answer."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import httpx
import orjson

from lowtide.market.usage import Usage
from lowtide.wire.asking import elapsed_ms, failed
from lowtide.wire.call import Answer, Call, CallFailed, Failure, FailureKind
from lowtide.wire.failures import failure, kind_of_status, retry_after

VERSION = "2023-06-01"
_PASSED = ("top_p", "top_k", "metadata")
_STOPS = {"end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "tool_use": "tool_calls"}
_STOPS |= {"refusal": "content_filter", "pause_turn": "stop", "model_context_window_exceeded": "length"}
_KINDS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
_CHOICES = {"auto": {"type": "auto"}, "required": {"type": "any"}, "none": {"type": "none"}}


def params_of(call: Call) -> dict[str, Any]:
    """The parameters of a message. Raises CallFailed where the request has what Messages cannot say."""
    body = call.body
    for name, plain in (
        ("n", (None, 1)),
        ("logprobs", (None, False)),
        ("response_format", (None, {"type": "text"})),
    ):
        if body.get(name) not in plain:
            raise _unsaid(f"{name} cannot be asked of this provider.")
    system, messages = _turns(body.get("messages") or ())
    params: dict[str, Any] = {
        "model": call.upstream_model,
        "max_tokens": call.max_output_tokens,
        "messages": messages,
        **{name: body[name] for name in _PASSED if body.get(name) is not None},
    }
    if system:
        params["system"] = system
    if body.get("temperature") is not None:
        # OpenAI's scale ends at 2, theirs at 1.
        params["temperature"] = min(1.0, float(body["temperature"]))
    if body.get("stop"):
        stop = body["stop"]
        params["stop_sequences"] = [stop] if isinstance(stop, str) else list(stop)
    if body.get("tools"):
        params["tools"] = [_tool(tool) for tool in body["tools"]]
        params["tool_choice"] = _choice(body)
    return params


def _turns(messages: Sequence[Mapping[str, Any]]) -> tuple[str, list[dict[str, Any]]]:
    """The system text, and the turns; what several tools answered goes back in one turn."""
    system: list[str] = []
    turns: list[dict[str, Any]] = []
    for message in messages:
        role = message.get("role")
        if role in ("system", "developer"):
            system.append("\n".join(block["text"] for block in _blocks(message.get("content"))))
            continue
        if role == "tool":
            answer = {
                "type": "tool_result",
                "tool_use_id": message.get("tool_call_id"),
                "content": list(_blocks(message.get("content"))),
            }
            role, blocks = "user", [answer]
        else:
            blocks = [*_blocks(message.get("content")), *_uses(message.get("tool_calls") or ())]
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": role, "content": blocks})
    return "\n\n".join(system), turns


def _blocks(content: Any) -> Iterator[dict[str, Any]]:
    parts: Any = [{"type": "text", "text": content}] if isinstance(content, str) else content or ()
    for part in parts:
        if part.get("type") == "text":
            if part.get("text"):
                yield {"type": "text", "text": part["text"]}
        elif part.get("type") == "image_url":
            yield {"type": "image", "source": _source(part["image_url"]["url"])}
        else:
            raise _unsaid(f"Content of type {part.get('type')!r} cannot be sent to this provider.")


def _source(url: str) -> dict[str, str]:
    if not url.startswith("data:"):
        return {"type": "url", "url": url}
    kind, _, data = url.removeprefix("data:").partition(";base64,")
    return {"type": "base64", "media_type": kind, "data": data}


def _uses(calls: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for call in calls:
        function = call["function"]
        try:
            given = orjson.loads(function.get("arguments") or "{}")
        except orjson.JSONDecodeError:
            raise _unsaid("A tool call's arguments are no JSON.") from None
        yield {"type": "tool_use", "id": call["id"], "name": function["name"], "input": given}


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    function = tool.get("function")
    if not isinstance(function, Mapping):
        raise _unsaid(f"A tool of type {tool.get('type')!r} cannot be sent to this provider.")
    made = {"name": function["name"], "input_schema": function.get("parameters") or {"type": "object"}}
    return made | ({"description": function["description"]} if function.get("description") else {})


def _choice(body: Mapping[str, Any]) -> dict[str, Any]:
    chosen = body.get("tool_choice") or "auto"
    made: dict[str, Any] = (
        dict(_CHOICES.get(chosen, _CHOICES["auto"]))
        if isinstance(chosen, str)
        else {
            "type": "tool",
            "name": chosen["function"]["name"],
        }
    )
    if body.get("parallel_tool_calls") is False and made["type"] != "none":
        made["disable_parallel_tool_use"] = True
    return made


def _unsaid(text: str) -> CallFailed:
    """Another provider may well be able to take it."""
    return CallFailed(replace(failure(FailureKind.CALLER_ERROR, text, 0), retry_elsewhere=True))


def answer_of(message: Any, request_id: str | None, began: float) -> Answer:
    """The answer that a message is. Raises CallFailed."""
    try:
        blocks = message["content"]
        text = "".join(block["text"] for block in blocks if block["type"] == "text")
        calls = [
            {
                "id": block["id"],
                "type": "function",
                "function": {"name": block["name"], "arguments": orjson.dumps(block["input"]).decode()},
            }
            for block in blocks
            if block["type"] == "tool_use"
        ]
        usage = usage_of(message.get("usage"))
    except (KeyError, TypeError, ValueError, AttributeError) as fault:
        raise failed(FailureKind.MALFORMED, f"Not a message: {fault}", began) from fault
    stop = message.get("stop_reason")
    if not text and not calls and stop != "refusal":
        raise failed(FailureKind.EMPTY, "The answer has neither text nor tool calls.", began)
    made: dict[str, Any] = {"role": "assistant", "content": text or None}
    if calls:
        made["tool_calls"] = calls
    if stop == "refusal":
        made["refusal"] = text or "The model declined."
    tier = (message.get("usage") or {}).get("service_tier")
    return Answer(
        made,
        _STOPS.get(str(stop), "stop"),
        usage,
        message.get("model"),
        tier,
        request_id or message.get("id"),
        elapsed_ms(began),
    )


def usage_of(reported: Mapping[str, Any] | None) -> Usage | None:
    """Tokens: there the cached ones stand beside the input, here within it. Raises TypeError or ValueError for no counts."""
    if not reported:
        return None
    thinking = (reported.get("output_tokens_details") or {}).get("thinking_tokens") or 0
    read, written = (reported.get(f"cache_{name}_input_tokens") or 0 for name in ("read", "creation"))
    counts = (reported["input_tokens"], reported.get("output_tokens") or 0, read, written, thinking)
    if any(
        isinstance(count, bool) or not isinstance(count, int) or not 0 <= count < 2**31 for count in counts
    ):
        raise ValueError("usage is no count of tokens")
    return Usage(counts[0] + read + written, counts[1], read, written, thinking)


def refusal(status: int, headers: httpx.Headers, raw: bytes, began: float) -> Failure:
    """The failure that an error status is, with the wire's own type and words."""
    try:
        error = orjson.loads(raw)["error"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        error = {"type": None, "message": raw[:200].decode(errors="replace")}
    return failure_of(error, elapsed_ms(began), status=status, retry_after_s=retry_after(headers))


def failure_of(
    error: Any, latency_ms: int, *, status: int | None = None, retry_after_s: float | None = None
) -> Failure:
    """The failure that an error object is."""
    kind, text = (
        (error.get("type"), str(error.get("message"))) if isinstance(error, dict) else (None, str(error))
    )
    code = status or _KINDS.get(str(kind), 500)
    return failure(
        kind_of_status(code, None, text),
        f"{kind or code}: {text}",
        latency_ms,
        status=code,
        retry_after_s=retry_after_s,
    )
