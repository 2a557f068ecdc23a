"""What goes over the simulator's connections: JSON, server-sent chunks, and answers that are cut off."""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from lowtide.simulate.completions import finish_reason, head, prompt_tokens, usage

Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
_CHUNK_WORDS = 8


class Cut(Exception):
    """Raised after half of an answer: the server then drops the connection."""


async def read_body(receive: Receive) -> bytes:
    """A request's whole body."""
    chunks, more = [], True
    while more:
        message = await receive()
        chunks.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(chunks)


async def until_disconnected(receive: Receive) -> None:
    """Wait until the client has left."""
    while (await receive())["type"] != "http.disconnect":
        continue


async def send_json(
    send: Send,
    status: int,
    body: Mapping[str, Any],
    headers: Mapping[str, str] | None = None,
    *,
    cut: bool = False,
) -> None:
    """Send a JSON answer. With `cut` only half of it, then raises Cut."""
    await send_bytes(send, status, json.dumps(body).encode(), headers, cut=cut)


async def send_bytes(
    send: Send, status: int, raw: bytes, headers: Mapping[str, str] | None = None, *, cut: bool = False
) -> None:
    """Send bytes under the name of JSON. With `cut` only half of them, then raises Cut."""
    await _start(
        send, status, {"content-type": "application/json", "content-length": str(len(raw)), **(headers or {})}
    )
    if cut:
        await send({"type": "http.response.body", "body": raw[: len(raw) // 2], "more_body": True})
        raise Cut
    await send({"type": "http.response.body", "body": raw})


async def send_stream(
    send: Send,
    body: Mapping[str, Any],
    number: int,
    tokens: int,
    text: str,
    headers: Mapping[str, str],
    *,
    cut: bool,
) -> None:
    """Send an answer as chunks, usage in the last where it is asked for. With `cut` half of them, then raises Cut."""
    await _start(send, 200, {"content-type": "text/event-stream", "cache-control": "no-cache", **headers})
    wants_usage = bool((body.get("stream_options") or {}).get("include_usage"))
    start = head(body, "chat.completion.chunk", number) | ({"usage": None} if wants_usage else {})
    pieces = _pieces(text)
    for index, piece in enumerate(pieces):
        if cut and index == (len(pieces) + 1) // 2:
            raise Cut
        await _event(send, start | _choice({"content": piece}, None))
    await _event(send, start | _choice({}, finish_reason(body, tokens)))
    if wants_usage:
        await _event(send, start | {"choices": [], "usage": usage(prompt_tokens(body), tokens)})
    await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})


def _pieces(text: str) -> list[str]:
    words = text.split(" ")
    groups = [" ".join(words[at : at + _CHUNK_WORDS]) for at in range(0, len(words), _CHUNK_WORDS)]
    return [group if at == 0 else f" {group}" for at, group in enumerate(groups)]


def _choice(delta: dict[str, str], reason: str | None) -> dict[str, Any]:
    whole = {"role": "assistant", **delta} if delta else {}
    return {"choices": [{"index": 0, "delta": whole, "logprobs": None, "finish_reason": reason}]}


async def _start(send: Send, status: int, headers: Mapping[str, str]) -> None:
    named = {"x-simulator": "lowtide", **headers}
    pairs = [(name.encode(), value.encode()) for name, value in named.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})


async def _event(send: Send, chunk: Mapping[str, Any]) -> None:
    event = b"data: " + json.dumps(chunk).encode() + b"\n\n"
    await send({"type": "http.response.body", "body": event, "more_body": True})
