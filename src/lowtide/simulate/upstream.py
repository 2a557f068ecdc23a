"""A **simulator** of providers that speak the OpenAI wire, over real HTTP: their answers, streams and faults.

Paths: /{provider}/v1/chat/completions and /{provider}/v1/models. Nothing here is a model; every answer says so
(`x-simulator`, `system_fingerprint: simulator`).
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

from lowtide.simulate.completions import (
    completion,
    error,
    filler,
    head,
    limit_of,
    prompt_tokens,
    usage,
    usual_tokens,
)
from lowtide.simulate.faults import ANY_MODEL, Fault, Stats

Receive = Callable[[], Any]
Send = Callable[[dict[str, Any]], Any]
OutputTokens = Callable[[Mapping[str, Any]], int]
_CHUNK_WORDS = 8


class Upstreams:
    """The ASGI application of all simulated providers, and what tests and the demo tell it.

    `output_tokens(body)` gives the length of an answer, before the request's limit cuts it.
    """

    def __init__(self, output_tokens: OutputTokens = usual_tokens) -> None:
        self._output_tokens = output_tokens
        self._faults: dict[str, list[Fault]] = {}
        self.stats: dict[str, Stats] = {}
        self._number = 0

    def fail(self, provider: str, fault: Fault) -> None:
        """Let a provider show a fault."""
        self._faults.setdefault(provider, []).append(fault)

    def heal(self, provider: str) -> None:
        """Clear a provider's faults."""
        self._faults.pop(provider, None)

    def seen(self, provider: str) -> Stats:
        """What a provider's simulator saw."""
        return self.stats.setdefault(provider, Stats())

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        parts = scope["path"].strip("/").split("/")
        if len(parts) == 4 and parts[1:] == ["v1", "chat", "completions"] and scope["method"] == "POST":
            await self._complete(parts[0], scope, receive, send)
        elif len(parts) == 3 and parts[1:] == ["v1", "models"]:
            await _reply(send, 200, {"object": "list", "data": []})
        else:
            await _reply(send, 404, error(f"No path {scope['path']}", "invalid_request_error", "not_found"))

    async def _complete(self, provider: str, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        stats = self.seen(provider)
        stats.calls += 1
        stats.connections.add(tuple(scope["client"]))
        try:
            body = json.loads(await _body(receive))
        except json.JSONDecodeError:
            return await _reply(send, 400, error("The body is not JSON.", "invalid_request_error", None))
        gone = asyncio.ensure_future(_disconnected(receive))
        work = asyncio.ensure_future(self._answer(provider, body, scope, send))
        done, _ = await asyncio.wait({gone, work}, return_when=asyncio.FIRST_COMPLETED)
        if work not in done:
            stats.disconnected += 1
            work.cancel()
        gone.cancel()
        await asyncio.gather(gone, work, return_exceptions=True)
        return None

    def _fault_for(self, provider: str, model: str) -> Fault | None:
        for fault in self._faults.get(provider, []):
            if fault.model in (ANY_MODEL, model) and (fault.times is None or fault.times > 0):
                if fault.times is not None:
                    fault.times -= 1
                return fault
        return None

    async def _answer(
        self, provider: str, body: Mapping[str, Any], scope: dict[str, Any], send: Send
    ) -> None:
        fault = self._fault_for(provider, str(body.get("model")))
        if fault is not None and fault.delay_s:
            await asyncio.sleep(fault.delay_s)
        if fault is not None and await self._failed(fault, send):
            return
        self._number += 1
        tokens = max(1, min(limit_of(body), self._output_tokens(body)))
        text = "" if fault is not None and fault.kind == "empty" else filler(tokens)
        stats = self.seen(provider)
        stats.answered += 1
        key = dict(scope["headers"]).get(b"idempotency-key")
        if key is not None:
            stats.keys.append(key.decode())
        cut = fault is not None and fault.kind == "cut"
        if body.get("stream"):
            await _stream(send, body, self._number, tokens, text, cut=cut)
        else:
            await _reply(send, 200, completion(body, self._number, tokens, text), cut=cut)

    async def _failed(self, fault: Fault, send: Send) -> bool:
        """Show a fault that is no answer; False for those that spoil one."""
        match fault.kind:
            case "rate_limit":
                await _reply(
                    send,
                    429,
                    error("Rate limit reached.", "rate_limit_error", "rate_limit_exceeded"),
                    {"retry-after": fault.retry_after or "1"},
                )
            case "server_error":
                await _reply(send, 500, error("The server had an error.", "server_error", None))
            case "overloaded":
                await _reply(
                    send,
                    503,
                    error("The engine is overloaded.", "server_error", "overloaded"),
                    {"retry-after": fault.retry_after or "1"},
                )
            case "malformed_json":
                await _raw(send, 200, b'{"id": "chatcmpl-sim", "choices": [{"mess')
            case "bad_request":
                await _reply(
                    send,
                    400,
                    error("Invalid value for 'messages'.", "invalid_request_error", "invalid_value"),
                )
            case "unauthorized":
                await _reply(
                    send,
                    401,
                    error("Incorrect API key provided.", "invalid_request_error", "invalid_api_key"),
                )
            case "hang":
                await asyncio.sleep(3_600)
            case _:
                return False
        return True


async def _body(receive: Receive) -> bytes:
    chunks, more = [], True
    while more:
        message = await receive()
        chunks.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(chunks)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue


async def _reply(
    send: Send,
    status: int,
    body: Mapping[str, Any],
    headers: Mapping[str, str] | None = None,
    *,
    cut: bool = False,
) -> None:
    await _raw(send, status, json.dumps(body).encode(), headers, cut=cut)


async def _raw(
    send: Send, status: int, raw: bytes, headers: Mapping[str, str] | None = None, *, cut: bool = False
) -> None:
    sent = {
        "content-type": "application/json",
        "x-simulator": "lowtide",
        "content-length": str(len(raw)),
        **(headers or {}),
    }
    await send({"type": "http.response.start", "status": status, "headers": _pairs(sent)})
    if cut:
        await send({"type": "http.response.body", "body": raw[: len(raw) // 2], "more_body": True})
        raise ConnectionAbortedError("the simulator cuts the connection here")
    await send({"type": "http.response.body", "body": raw})


async def _stream(
    send: Send, body: Mapping[str, Any], number: int, tokens: int, text: str, *, cut: bool
) -> None:
    sent = {"content-type": "text/event-stream", "x-simulator": "lowtide", "cache-control": "no-cache"}
    await send({"type": "http.response.start", "status": 200, "headers": _pairs(sent)})
    start = head(body, "chat.completion.chunk", number)
    wants_usage = bool((body.get("stream_options") or {}).get("include_usage"))
    words = text.split(" ")
    pieces = [" ".join(words[i : i + _CHUNK_WORDS]) + " " for i in range(0, len(words), _CHUNK_WORDS)]
    for index, piece in enumerate(pieces):
        delta = {"content": piece} if index else {"role": "assistant", "content": piece}
        chunk = start | {"choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}]}
        await _event(send, chunk | ({"usage": None} if wants_usage else {}))
        if cut and index >= len(pieces) // 2:
            raise ConnectionAbortedError("the simulator cuts the stream here")
    reason = "length" if tokens >= limit_of(body) else "stop"
    last = start | {"choices": [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": reason}]}
    await _event(send, last | ({"usage": None} if wants_usage else {}))
    if wants_usage:
        await _event(send, start | {"choices": [], "usage": usage(prompt_tokens(body), tokens)})
    await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})


async def _event(send: Send, chunk: Mapping[str, Any]) -> None:
    await send(
        {
            "type": "http.response.body",
            "body": b"data: " + json.dumps(chunk).encode() + b"\n\n",
            "more_body": True,
        }
    )


def _pairs(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in headers.items()]
