"""OpenAI's Batch API, and what speaks it: a file of JSON lines goes up, results come down as files, in any order."""

import secrets
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import orjson

from lowtide.wire.asking import asked, authorization, failed, opened
from lowtide.wire.batch import BatchState, BatchStatus, Result, Seller
from lowtide.wire.call import Answer, Call, CallFailed, Failure, FailureKind
from lowtide.wire.openai import answer_of, refusal, sent

ENDPOINT = "/v1/chat/completions"
NAME_KEY = "lowtide"
"""The metadata key under which our name for a batch is kept."""
TIMEOUT_S, TRANSFER_S = 60.0, 600.0
_PAGE, _PAGES = 100, 10
_STATES = {
    "validating": BatchState.WAITING,
    "in_progress": BatchState.RUNNING,
    "finalizing": BatchState.RUNNING,
    "cancelling": BatchState.CANCELLING,
    "completed": BatchState.COMPLETED,
    "expired": BatchState.EXPIRED,
    "cancelled": BatchState.CANCELLED,
    "failed": BatchState.REFUSED,
}


class OpenAIBatches:
    """POST {base}/files and {base}/batches, GET and cancel; results are read as they come."""

    most_calls = 50_000
    most_bytes = 200 * 1024 * 1024
    keeps_names = True

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self._transport = transport

    async def submit(self, seller: Seller, name: str, calls: Mapping[str, Call]) -> BatchStatus:
        """Upload the calls as lines and make a batch of the file, with our name in its metadata."""
        lines = b"".join(line_of(custom_id, call) for custom_id, call in calls.items())
        kind, content = _form(name, lines)
        file = await self._json(seller, "POST", "files", content, kind, timeout_s=TRANSFER_S)
        body = {
            "input_file_id": _text(file, "id"),
            "endpoint": ENDPOINT,
            "completion_window": "24h",
            "metadata": {NAME_KEY: name},
        }
        return status_of(await self._json(seller, "POST", "batches", orjson.dumps(body)))

    async def find(self, seller: Seller, name: str) -> BatchStatus | None:
        """The batch whose metadata has our name, among the newest thousand."""
        after = ""
        for _ in range(_PAGES):
            page = await self._json(seller, "GET", f"batches?limit={_PAGE}{after}")
            listed = page.get("data") or []
            for batch in listed:
                if (batch.get("metadata") or {}).get(NAME_KEY) == name:
                    return status_of(batch)
            if not page.get("has_more") or not listed:
                return None
            after = f"&after={_text(listed[-1], 'id')}"
        return None

    async def poll(self, seller: Seller, batch_id: str) -> BatchStatus:
        """How far it is."""
        return status_of(await self._json(seller, "GET", f"batches/{batch_id}"))

    async def cancel(self, seller: Seller, batch_id: str) -> BatchStatus:
        """Ask for its end, which may take ten minutes. One that has ended already stays as it is."""
        try:
            return status_of(await self._json(seller, "POST", f"batches/{batch_id}/cancel", b"{}"))
        except CallFailed as fault:
            if fault.failure.kind is not FailureKind.CALLER_ERROR and fault.failure.status != 409:
                raise
            return await self.poll(seller, batch_id)

    async def collect(self, seller: Seller, status: BatchStatus) -> AsyncIterator[Result]:
        """The lines of the output file and of the error file."""
        for file_id in status.results:
            began = time.monotonic()
            request = _request(seller, "GET", f"files/{file_id}/content", None, None, began)
            async with opened(self._transport, request, TRANSFER_S, began) as response:
                if response.status_code != 200:
                    raise CallFailed(
                        refusal(response.status_code, response.headers, await response.aread(), began)
                    )
                async for line in response.aiter_lines():
                    if line.strip():
                        yield result_of(line, began)

    async def _json(
        self,
        seller: Seller,
        method: str,
        path: str,
        content: bytes | None = None,
        kind: str = "application/json",
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> dict[str, Any]:
        began = time.monotonic()
        request = _request(seller, method, path, content, kind, began)
        status, headers, raw = await asked(self._transport, request, timeout_s, began)
        if not 200 <= status < 300:
            raise CallFailed(refusal(status, headers, raw, began))
        try:
            found = orjson.loads(raw)
        except orjson.JSONDecodeError as fault:
            raise failed(FailureKind.MALFORMED, f"{path} answers no JSON: {fault}", began) from fault
        if not isinstance(found, dict):
            raise failed(FailureKind.MALFORMED, f"{path} answers no object.", began)
        return found


def line_of(custom_id: str, call: Call) -> bytes:
    """A call as a line of the input file. Raises CallFailed where its body is no JSON."""
    body = sent(call)
    body.pop("service_tier", None)
    try:
        return orjson.dumps(
            {"custom_id": custom_id, "method": "POST", "url": ENDPOINT, "body": body},
            option=orjson.OPT_APPEND_NEWLINE,
        )
    except orjson.JSONEncodeError as fault:
        text = f"The body is no JSON: {fault}"
        raise failed(FailureKind.CALLER_ERROR, text, time.monotonic()) from fault


def status_of(batch: Mapping[str, Any]) -> BatchStatus:
    """A batch object's status. Raises CallFailed where it is none."""
    state, began = _STATES.get(str(batch.get("status"))), time.monotonic()
    if state is None:
        raise failed(FailureKind.MALFORMED, f"No status of a batch: {batch.get('status')!r}", began)
    counts = batch.get("request_counts") or {}
    files = (batch.get("output_file_id"), batch.get("error_file_id"))
    faults = (batch.get("errors") or {}).get("data") or []
    return BatchStatus(
        id=_text(batch, "id"),
        state=state,
        total=_count(counts, "total"),
        done=_count(counts, "completed"),
        failed=_count(counts, "failed"),
        results=tuple(file for file in files if isinstance(file, str) and file),
        detail="; ".join(str(fault.get("message")) for fault in faults if isinstance(fault, dict))[:500],
    )


def result_of(line: str, began: float) -> Result:
    """A line of a result file: the answer, the sorted failure, or None for a call that was not done in time."""
    try:
        entry = orjson.loads(line)
        custom_id, response, error = entry["custom_id"], entry.get("response"), entry.get("error")
        if not isinstance(custom_id, str):
            raise TypeError("custom_id is no text")
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as fault:
        raise failed(FailureKind.MALFORMED, f"Not a line of results: {fault}", began) from fault
    return custom_id, _outcome(response, error, began)


def _outcome(response: Any, error: Any, began: float) -> Answer | Failure | None:
    if not isinstance(response, dict):
        code = error.get("code") if isinstance(error, dict) else None
        if code in ("batch_expired", "batch_cancelled"):
            return None
        text = error.get("message") if isinstance(error, dict) else error
        return failed(FailureKind.SERVER_ERROR, f"The batch failed on it: {text}", began).failure
    status, body = response.get("status_code"), response.get("body")
    headers = httpx.Headers({"x-request-id": str(response.get("request_id") or "")})
    raw = orjson.dumps(body)
    if status != 200:
        return refusal(status if isinstance(status, int) else 502, headers, raw, began)
    try:
        return answer_of(body, headers, raw, began)
    except CallFailed as fault:
        return fault.failure


def _request(
    seller: Seller, method: str, path: str, content: bytes | None, kind: str | None, began: float
) -> httpx.Request:
    headers = {
        "accept": "application/json",
        "user-agent": "lowtide",
        **authorization(seller.api_key, began),
    }
    if content is not None and kind is not None:
        headers["content-type"] = kind
    limits = {"connect": 5.0, "read": TIMEOUT_S, "write": TIMEOUT_S, "pool": 5.0}
    try:
        return httpx.Request(
            method,
            f"{seller.base_url.rstrip('/')}/{path}",
            headers=headers,
            content=content,
            extensions={"timeout": limits},
        )
    except httpx.InvalidURL as fault:
        raise failed(FailureKind.CONNECT_FAILED, f"Bad base URL: {fault}", began) from fault


def _form(name: str, lines: bytes) -> tuple[str, bytes]:
    """Content type and body of the upload."""
    mark = secrets.token_hex(16)
    head = (
        f'--{mark}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="{name}.jsonl"\r\n'
        "Content-Type: application/jsonl\r\n\r\n"
    )
    return f"multipart/form-data; boundary={mark}", head.encode() + lines + f"\r\n--{mark}--\r\n".encode()


def _text(found: Mapping[str, Any], name: str) -> str:
    value = found.get(name)
    if not isinstance(value, str) or not value:
        raise failed(FailureKind.MALFORMED, f"The answer has no {name}.", time.monotonic())
    return value


def _count(counts: Mapping[str, Any], name: str) -> int:
    value = counts.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0
