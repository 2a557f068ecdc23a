"""Anthropic's Message Batches: requests go up in one body, results come down as JSON lines, in any order."""

import time
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson

from lowtide.wire.anthropic_messages import VERSION, answer_of, failure_of, params_of, refusal
from lowtide.wire.asking import asked, authorization, elapsed_ms, failed, opened
from lowtide.wire.batch import BatchState, BatchStatus, Result, Seller
from lowtide.wire.call import Answer, Call, CallFailed, Failure, FailureKind

TIMEOUT_S, TRANSFER_S = 60.0, 600.0
_STATES = {"in_progress": BatchState.RUNNING, "canceling": BatchState.CANCELLING}


class AnthropicBatches:
    """POST {base}/messages/batches, GET and cancel; the results lie at a URL of the same server."""

    most_calls = 100_000
    most_bytes = 256 * 1024 * 1024
    keeps_names = False

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self._transport = transport

    async def submit(self, seller: Seller, name: str, calls: Mapping[str, Call]) -> BatchStatus:
        """Hand in all calls. The wire keeps no name for a batch: `name` goes along as the request's id only."""
        requests = [{"custom_id": custom_id, "params": params_of(call)} for custom_id, call in calls.items()]
        try:
            content = orjson.dumps({"requests": requests})
        except orjson.JSONEncodeError as fault:
            text = f"The body is no JSON: {fault}"
            raise failed(FailureKind.CALLER_ERROR, text, time.monotonic()) from fault
        return status_of(
            await self._json(seller, "POST", "messages/batches", content, timeout_s=TRANSFER_S, name=name)
        )

    async def find(self, seller: Seller, name: str) -> BatchStatus | None:
        """None: the wire keeps no names."""
        return None

    async def poll(self, seller: Seller, batch_id: str) -> BatchStatus:
        """How far it is."""
        return status_of(await self._json(seller, "GET", f"messages/batches/{batch_id}"))

    async def cancel(self, seller: Seller, batch_id: str) -> BatchStatus:
        """Ask for its end. One that has ended already stays as it is."""
        try:
            return status_of(await self._json(seller, "POST", f"messages/batches/{batch_id}/cancel", b""))
        except CallFailed as fault:
            if fault.failure.kind is not FailureKind.CALLER_ERROR and fault.failure.status != 409:
                raise
            return await self.poll(seller, batch_id)

    async def collect(self, seller: Seller, status: BatchStatus) -> AsyncIterator[Result]:
        """The lines at the results' URL, which must lie on the seller's own server: the key goes along."""
        for url in status.results:
            began = time.monotonic()
            if urlsplit(url)[:2] != urlsplit(seller.base_url)[:2]:
                raise failed(
                    FailureKind.MALFORMED, "The results lie on another server. They are not fetched.", began
                )
            request = _request(seller, "GET", url, None, began)
            async with opened(self._transport, request, TRANSFER_S, began) as response:
                if response.status_code != 200:
                    raw = await response.aread()
                    raise CallFailed(refusal(response.status_code, response.headers, raw, began))
                async for line in response.aiter_lines():
                    if line.strip():
                        yield result_of(line, began)

    async def _json(
        self,
        seller: Seller,
        method: str,
        path: str,
        content: bytes | None = None,
        *,
        timeout_s: float = TIMEOUT_S,
        name: str | None = None,
    ) -> dict[str, Any]:
        began = time.monotonic()
        url = f"{seller.base_url.rstrip('/')}/{path}"
        request = _request(seller, method, url, content, began, name)
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


def status_of(batch: Mapping[str, Any]) -> BatchStatus:
    """A batch object's status. What ended is complete, cancelled or expired by what became of its calls."""
    began, stage, counts = time.monotonic(), batch.get("processing_status"), batch.get("request_counts") or {}
    named = {
        name: counts.get(name) or 0 for name in ("processing", "succeeded", "errored", "canceled", "expired")
    }
    batch_id, url = batch.get("id"), batch.get("results_url")
    if not isinstance(batch_id, str) or stage not in (*_STATES, "ended"):
        raise failed(FailureKind.MALFORMED, f"No status of a batch: {stage!r}", began)
    if not all(isinstance(count, int) for count in named.values()):
        raise failed(FailureKind.MALFORMED, "A batch's counts are no counts.", began)
    ended = BatchState.COMPLETED
    if named["canceled"]:
        ended = BatchState.CANCELLED
    elif named["expired"]:
        ended = BatchState.EXPIRED
    return BatchStatus(
        id=batch_id,
        state=_STATES.get(str(stage), ended),
        total=sum(named.values()),
        done=named["succeeded"],
        failed=named["errored"],
        results=(url,) if stage == "ended" and isinstance(url, str) else (),
    )


def result_of(line: str, began: float) -> Result:
    """A line of results: the answer, the sorted failure, or None for a call that was not done."""
    try:
        entry = orjson.loads(line)
        custom_id, result = entry["custom_id"], entry["result"]
        kind = result["type"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as fault:
        raise failed(FailureKind.MALFORMED, f"Not a line of results: {fault}", began) from fault
    return custom_id, _outcome(kind, result, began)


def _outcome(kind: str, result: Mapping[str, Any], began: float) -> Answer | Failure | None:
    if kind in ("canceled", "expired"):
        return None
    if kind == "succeeded":
        try:
            return answer_of(result.get("message"), None, began)
        except CallFailed as fault:
            return fault.failure
    error = result.get("error")
    if isinstance(error, dict) and isinstance(error.get("error"), dict):
        error = error["error"]
    return failure_of(error, elapsed_ms(began))


def _request(
    seller: Seller, method: str, url: str, content: bytes | None, began: float, name: str | None = None
) -> httpx.Request:
    key = authorization(seller.api_key, began).get("authorization", "").removeprefix("Bearer ")
    headers = {
        "accept": "application/json",
        "user-agent": "lowtide",
        "anthropic-version": VERSION,
        **({"x-api-key": key} if key else {}),
        **({"content-type": "application/json"} if content else {}),
        **({"idempotency-key": name} if name else {}),
    }
    limits = {"connect": 5.0, "read": TIMEOUT_S, "write": TIMEOUT_S, "pool": 5.0}
    try:
        return httpx.Request(method, url, headers=headers, content=content, extensions={"timeout": limits})
    except httpx.InvalidURL as fault:
        raise failed(FailureKind.CONNECT_FAILED, f"Bad base URL: {fault}", began) from fault
