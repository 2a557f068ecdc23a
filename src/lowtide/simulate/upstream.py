"""A **simulator** of providers that speak the OpenAI wire, over real HTTP: their answers, streams and faults.

Paths: POST /{provider}/v1/chat/completions, GET /{provider}/v1/models, the batch APIs; and for tests and the demo
GET /_simulator/stats, POST and DELETE /_simulator/faults. Nothing here is a model; every answer says so (`x-simulator`,
`system_fingerprint: simulator`).
"""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lowtide.simulate.batches import Batches
from lowtide.simulate.completions import (
    complaint,
    completion,
    error,
    filler,
    limit_of,
    model_list,
    prompt_tokens,
    usage,
    usual_tokens,
)
from lowtide.simulate.faults import ANY_MODEL, Fault, Stats, fault_from_json
from lowtide.simulate.replies import (
    Cut,
    Receive,
    Send,
    read_body,
    send_bytes,
    send_json,
    send_stream,
    until_disconnected,
)

OutputTokens = Callable[[Mapping[str, Any]], int]
_INVALID = "invalid_request_error"
_HANG_S = 3_600


class Upstreams:
    """The ASGI application of all simulated providers, and what tests and the demo tell it.

    `output_tokens(body)` gives the length of an answer, before the request's limit cuts it. A provider named in
    `models` has those models only; any other has every model it is asked for, and lists none.
    """

    def __init__(
        self, output_tokens: OutputTokens = usual_tokens, models: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        self._output_tokens = output_tokens
        self._models = models or {}
        self._faults: dict[str, list[Fault]] = {}
        self.stats: dict[str, Stats] = {}
        self._number = 0
        self.batches = Batches(output_tokens)

    def fail(self, provider: str, fault: Fault) -> None:
        """Let a provider show a fault. Of several, the first told that fits shows first."""
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
        match scope["method"], scope["path"].strip("/").split("/"):
            case "POST", [provider, "v1", "chat", "completions"]:
                await self._complete(provider, scope, receive, send)
            case "GET", [provider, "v1", "models"]:
                await send_json(send, 200, model_list(self._models.get(provider, ())))
            case "GET", ["_simulator", "stats"]:
                seen = {name: stats.as_json() for name, stats in self.stats.items()}
                await send_json(send, 200, {"providers": seen})
            case (("POST" | "DELETE"), ["_simulator", "faults"]):
                await self._told(scope["method"], receive, send)
            case method, [provider, "v1", *rest] if await self.batches.answer(
                method, provider, rest, scope, receive, send
            ):
                pass
            case _:
                await send_json(send, 404, error(f"No path {scope['path']}", _INVALID, "not_found"))

    async def _told(self, method: str, receive: Receive, send: Send) -> None:
        """Set a fault: its fields and `provider`. Or clear a provider's: `provider` alone."""
        try:
            spec = json.loads(await read_body(receive))
            if not isinstance(spec, dict) or not isinstance(provider := spec.pop("provider", None), str):
                raise ValueError("Send a JSON object with a provider.")
            if method == "POST":
                self.fail(provider, fault_from_json(spec))
            else:
                self.heal(provider)
        except ValueError as fault:
            return await send_json(send, 400, error(str(fault), _INVALID, None))
        return await send_json(
            send, 200, {"provider": provider, "faults": len(self._faults.get(provider, []))}
        )

    async def _complete(self, provider: str, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        stats = self.seen(provider)
        stats.calls += 1
        stats.connections.add(tuple(scope["client"]))
        try:
            body = json.loads(await read_body(receive))
        except ValueError:
            return await send_json(send, 400, error("The body is not JSON.", _INVALID, None))
        if (wrong := complaint(body)) is not None:
            return await send_json(send, 400, error(wrong, _INVALID, "invalid_value"))
        if body["model"] not in self._models.get(provider, (body["model"],)):
            text = f"The model `{body['model']}` does not exist."
            return await send_json(send, 404, error(text, _INVALID, "model_not_found"))
        gone = asyncio.ensure_future(until_disconnected(receive))
        work = asyncio.ensure_future(self._answer(provider, body, scope, send))
        stats.at_once += 1
        stats.most_at_once = max(stats.most_at_once, stats.at_once)
        try:
            await asyncio.wait({gone, work}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                stats.disconnected += 1
        finally:
            stats.at_once -= 1
            gone.cancel()
            work.cancel()
            ended = await asyncio.gather(gone, work, return_exceptions=True)
        # A cut needs no more than to return in the middle of the answer: the server drops the connection.
        if isinstance(ended[1], Exception) and not isinstance(ended[1], Cut):
            raise ended[1]
        return None

    def _fault_for(self, provider: str, model: str) -> Fault | None:
        for fault in self._faults.get(provider, []):
            if (
                fault.model in (ANY_MODEL, model)
                and (fault.times is None or fault.times > 0)
                and fault.strikes()
            ):
                if fault.times is not None:
                    fault.times -= 1
                return fault
        return None

    async def _answer(
        self, provider: str, body: Mapping[str, Any], scope: dict[str, Any], send: Send
    ) -> None:
        fault = self._fault_for(provider, body["model"])
        if fault is not None and fault.delay_s:
            await asyncio.sleep(fault.delay_s)
        if fault is not None and await _refused(fault, body, send):
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
        named = {"x-request-id": f"req-sim-{self._number}"}
        if body.get("stream"):
            await send_stream(send, body, self._number, tokens, text, named, cut=cut)
        else:
            await send_json(send, 200, completion(body, self._number, tokens, text), named, cut=cut)


async def _refused(fault: Fault, asked: Mapping[str, Any], send: Send) -> bool:
    """Show a fault that is no answer; False for those that spoil or delay one."""
    match fault.kind:
        case "rate_limit":
            body = error("Rate limit reached.", "rate_limit_error", "rate_limit_exceeded")
            await send_json(send, 429, body, fault.retry_headers())
        case "server_error":
            await send_json(send, 500, error("The server had an error.", "server_error", None))
        case "overloaded":
            body = error("The engine is overloaded.", "server_error", "overloaded")
            await send_json(send, 503, body, fault.retry_headers())
        case "preempted":
            told = error("The capacity was taken back.", "capacity_reclaimed", "preempted")
            used = {"usage": usage(prompt_tokens(asked), 0)} if fault.charges else {}
            await send_json(send, 503, told | used)
        case "malformed_json":
            await send_bytes(send, 200, b'{"id": "chatcmpl-sim", "choices": [{"mess')
        case "bad_request":
            await send_json(send, 400, error("Invalid value for 'messages'.", _INVALID, "invalid_value"))
        case "unauthorized":
            await send_json(send, 401, error("Incorrect API key provided.", _INVALID, "invalid_api_key"))
        case "hang":
            await asyncio.sleep(_HANG_S)
        case _:
            return False
    return True
