"""A **simulator** of batch APIs, OpenAI's and Anthropic's: files, states, partial results, cancelling and expiry.

Paths below /{provider}/v1: POST files, GET files/{id}/content, POST and GET batches, GET batches/{id}, POST
batches/{id}/cancel; POST messages/batches, GET messages/batches/{id}, POST …/cancel, GET …/results.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any

from lowtide.simulate.completions import completion, error, filler, limit_of
from lowtide.simulate.replies import Receive, Send, read_body, send_bytes, send_json

OutputTokens = Callable[[Mapping[str, Any]], int]
_INVALID = "invalid_request_error"


@dataclass(slots=True)
class BatchPlan:
    """How a provider's batches go: each is done after `takes_s` seconds of real time.

    Of its calls the last `errors` fail with status 500, and the `undone` before them are left over when it ends (it then
    ends as expired). `refuse` says why every batch is refused after its upload.
    """

    takes_s: float = 0.1
    errors: int = 0
    undone: int = 0
    refuse: str | None = None


@dataclass(slots=True)
class _Batch:
    id: str
    provider: str
    lines: list[tuple[str, dict[str, Any]]]
    made: float
    plan: BatchPlan
    fields: dict[str, Any] = field(default_factory=dict)
    cancelled: float | None = None

    @property
    def ended(self) -> bool:
        return self.cancelled is not None or time.time() - self.made >= self.plan.takes_s

    @property
    def cut(self) -> tuple[int, int]:
        """How many of its calls are done, and how many of the rest failed."""
        if not self.ended:
            return 0, 0
        if self.cancelled is not None:
            share = min(1.0, (self.cancelled - self.made) / max(self.plan.takes_s, 1e-9))
            return int(len(self.lines) * share), 0
        return len(self.lines) - self.plan.errors - self.plan.undone, self.plan.errors


class Batches:
    """The batches of all simulated providers, and what tests tell them."""

    def __init__(self, output_tokens: OutputTokens) -> None:
        self._output_tokens = output_tokens
        self.plans: dict[str, BatchPlan] = {}
        self.made: dict[str, _Batch] = {}
        self._files: dict[str, bytes] = {}
        self._number = 0

    def of(self, provider: str) -> list[_Batch]:
        """A provider's batches, in the order they were made."""
        return [batch for batch in self.made.values() if batch.provider == provider]

    async def answer(
        self,
        method: str,
        provider: str,
        rest: Sequence[str],
        scope: Mapping[str, Any],
        receive: Receive,
        send: Send,
    ) -> bool:
        """Answer what is a batch API's; False for any other path."""
        match method, *rest:
            case "POST", "files":
                await self._upload(scope, await read_body(receive), send)
            case "GET", "files", file_id, "content":
                await self._content(file_id, send)
            case "POST", "batches":
                await self._make(provider, json.loads(await read_body(receive)), send)
            case "GET", "batches":
                data = [self._object(batch) for batch in reversed(self.of(provider))]
                await send_json(send, 200, {"object": "list", "data": data, "has_more": False})
            case "POST", "messages", "batches":
                await self._make_messages(provider, json.loads(await read_body(receive)), scope, send)
            case (("GET" | "POST"), "batches", batch_id, *last) | (
                ("GET" | "POST"),
                "messages",
                "batches",
                batch_id,
                *last,
            ):
                await self._one(batch_id, last, rest[0] == "messages", send)
            case _:
                return False
        return True

    async def _one(self, batch_id: str, last: Sequence[str], messages: bool, send: Send) -> None:
        batch = self.made.get(batch_id)
        if batch is None:
            return await send_json(send, 404, error(f"No such batch: {batch_id}", _INVALID, None))
        match list(last):
            case ["cancel"]:
                if batch.ended:
                    return await send_json(send, 409, error("The batch has ended.", _INVALID, None))
                batch.cancelled = time.time()
            case ["results"]:
                return await send_bytes(send, 200, self._messages_results(batch))
            case []:
                pass
            case _:
                return await send_json(send, 404, error("No such path.", _INVALID, None))
        return await send_json(send, 200, self._messages_object(batch) if messages else self._object(batch))

    async def _upload(self, scope: Mapping[str, Any], raw: bytes, send: Send) -> None:
        kind = dict(scope["headers"])[b"content-type"]
        form = BytesParser(policy=HTTP).parsebytes(b"Content-Type: " + kind + b"\r\n\r\n" + raw)
        parts = {part.get_param("name", header="content-disposition"): part for part in form.iter_parts()}
        if parts["purpose"].get_content().strip() != "batch":
            return await send_json(send, 400, error("Invalid purpose.", _INVALID, None))
        lines = bytes(parts["file"].get_payload(decode=True))
        file_id = self._keep(lines)
        return await send_json(
            send,
            200,
            {
                "id": file_id,
                "object": "file",
                "bytes": len(lines),
                "created_at": int(time.time()),
                "filename": parts["file"].get_filename(),
                "purpose": "batch",
                "status": "processed",
            },
        )

    async def _content(self, file_id: str, send: Send) -> None:
        kept = self._files.get(file_id)
        if kept is None:
            return await send_json(send, 404, error(f"No such File object: {file_id}", _INVALID, None))
        return await send_bytes(send, 200, kept)

    async def _make(self, provider: str, body: Mapping[str, Any], send: Send) -> None:
        kept = self._files.get(str(body.get("input_file_id")))
        if (
            kept is None
            or body.get("endpoint") != "/v1/chat/completions"
            or body.get("completion_window") != "24h"
        ):
            return await send_json(send, 400, error("Invalid batch.", _INVALID, None))
        lines = [json.loads(line) for line in kept.splitlines() if line.strip()]
        batch = self._new(provider, [(line["custom_id"], line["body"]) for line in lines])
        batch.fields = {"input_file_id": body["input_file_id"], "metadata": body.get("metadata")}
        return await send_json(send, 200, self._object(batch))

    def _new(self, provider: str, lines: list[tuple[str, dict[str, Any]]]) -> _Batch:
        self._number += 1
        batch = _Batch(
            f"batch_sim_{self._number}", provider, lines, time.time(), self.plans.get(provider, BatchPlan())
        )
        self.made[batch.id] = batch
        return batch

    def _keep(self, content: bytes) -> str:
        file_id = f"file-sim-{len(self._files) + 1}"
        self._files[file_id] = content
        return file_id

    def _object(self, batch: _Batch) -> dict[str, Any]:
        done, failed = batch.cut
        status = "in_progress"
        if batch.plan.refuse is not None:
            status = "failed"
        elif batch.cancelled is not None:
            status = "cancelled"
        elif batch.ended:
            status = "expired" if batch.plan.undone else "completed"
        if batch.ended and "output_file_id" not in batch.fields and status != "failed":
            output, faulty = self._results(batch, done, failed)
            batch.fields["output_file_id"] = self._keep(output) if output else None
            batch.fields["error_file_id"] = self._keep(faulty) if faulty else None
        faults = [{"code": "invalid", "message": batch.plan.refuse, "param": None, "line": 1}]
        return {
            "id": batch.id,
            "object": "batch",
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
            "status": status,
            "errors": {"object": "list", "data": faults} if batch.plan.refuse else None,
            "output_file_id": None,
            "error_file_id": None,
            "created_at": int(batch.made),
            "expires_at": int(batch.made) + 86_400,
            "request_counts": {"total": len(batch.lines), "completed": done, "failed": failed},
            **batch.fields,
        }

    def _results(self, batch: _Batch, done: int, failed: int) -> tuple[bytes, bytes]:
        """The output file and the error file, in another order than the calls came."""
        output, faulty = [], []
        for number, (custom_id, body) in reversed(list(enumerate(batch.lines))):
            entry: dict[str, Any] = {"id": f"batch_req_{number}", "custom_id": custom_id, "error": None}
            if number < done:
                output.append(entry | {"response": self._response(number, body)})
            elif number >= len(batch.lines) - failed:
                fault = error("The server had an error.", "server_error", None)
                faulty.append(entry | {"response": {"status_code": 500, "request_id": "r", "body": fault}})
            else:
                code = "batch_cancelled" if batch.cancelled is not None else "batch_expired"
                faulty.append(
                    entry | {"response": None, "error": {"code": code, "message": "It was not done in time."}}
                )
        return _lines(output), _lines(faulty)

    def _response(self, number: int, body: Mapping[str, Any]) -> dict[str, Any]:
        tokens = max(1, min(limit_of(body), self._output_tokens(body)))
        answer = completion(body, number, tokens, filler(tokens))
        return {"status_code": 200, "request_id": f"req-sim-{number}", "body": answer}

    async def _make_messages(
        self, provider: str, body: Mapping[str, Any], scope: Mapping[str, Any], send: Send
    ) -> None:
        requests = body.get("requests") or []
        if not requests or any(not item["params"].get("max_tokens") for item in requests):
            fault = {"type": "error", "error": {"type": _INVALID, "message": "max_tokens: field required"}}
            return await send_json(send, 400, fault)
        batch = self._new(provider, [(item["custom_id"], item["params"]) for item in requests])
        host = dict(scope["headers"])[b"host"].decode()
        batch.fields["url"] = f"http://{host}/{provider}/v1/messages/batches/{batch.id}/results"
        return await send_json(send, 200, self._messages_object(batch))

    def _messages_object(self, batch: _Batch) -> dict[str, Any]:
        done, failed = batch.cut
        left = len(batch.lines) - done - failed if batch.ended else 0
        return {
            "id": batch.id,
            "type": "message_batch",
            "processing_status": "ended" if batch.ended else "in_progress",
            "request_counts": {
                "processing": 0 if batch.ended else len(batch.lines),
                "succeeded": done,
                "errored": failed,
                "canceled": left if batch.cancelled is not None else 0,
                "expired": left if batch.cancelled is None else 0,
            },
            "created_at": _instant(batch.made),
            "expires_at": _instant(batch.made + 86_400),
            "ended_at": _instant(time.time()) if batch.ended else None,
            "cancel_initiated_at": None if batch.cancelled is None else _instant(batch.cancelled),
            "archived_at": None,
            "results_url": batch.fields["url"] if batch.ended else None,
        }

    def _messages_results(self, batch: _Batch) -> bytes:
        done, failed = batch.cut
        entries = []
        for number, (custom_id, params) in reversed(list(enumerate(batch.lines))):
            result: dict[str, Any] = {"type": "canceled" if batch.cancelled is not None else "expired"}
            if number < done:
                result = {"type": "succeeded", "message": self._message(number, params)}
            elif number >= len(batch.lines) - failed:
                fault = {"type": "error", "error": {"type": "api_error", "message": "Internal error"}}
                result = {"type": "errored", "error": fault}
            entries.append({"custom_id": custom_id, "result": result})
        return _lines(entries)

    def _message(self, number: int, params: Mapping[str, Any]) -> dict[str, Any]:
        tokens = max(1, min(int(params["max_tokens"]), self._output_tokens(params)))
        said = sum(len(str(turn["content"])) for turn in params["messages"]) // 4 + 1
        return {
            "id": f"msg_sim_{number}",
            "type": "message",
            "role": "assistant",
            "model": params["model"],
            "content": [{"type": "text", "text": filler(tokens)}],
            "stop_reason": "max_tokens" if tokens >= params["max_tokens"] else "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": said, "output_tokens": tokens, "service_tier": "batch"},
        }


def _lines(entries: Sequence[Mapping[str, Any]]) -> bytes:
    return b"".join(json.dumps(entry).encode() + b"\n" for entry in entries)


def _instant(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
