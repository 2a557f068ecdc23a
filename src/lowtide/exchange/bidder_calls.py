"""One call of a bidder: signed, with a limit on everything, and an answer or the reason why there is none."""

import asyncio
import time
from dataclasses import dataclass

import httpx
import structlog

from lowtide.exchange.bidder import Bidder
from lowtide.market.eligibility import LossReason
from lowtide.values.webhooks import signed

MOST_BYTES = 64 * 1_024
LATE_S = 2.0
"""How long after its deadline an answer is still listened for."""
_JSON = {"content-type": "application/json", "accept": "application/json", "accept-encoding": "identity"}

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back, and when it was all here (monotonic s). Without a body `code` says why there is no bid.

    `failed` counts against the bidder: not wanting to bid does not.
    """

    at: float
    body: bytes = b""
    code: LossReason | None = None
    said: str | None = None
    failed: bool = False


async def call(client: httpx.AsyncClient, bidder: Bidder, auction_id: str, body: bytes) -> Reply:
    """Ask one bidder. Never raises for what the bidder or the network does."""
    headers = _JSON | signed(bidder.secret, auction_id, int(time.time()), body)
    timeout_s = bidder.timeout_ms / 1_000 + LATE_S
    try:
        async with asyncio.timeout(timeout_s):
            request = client.build_request(
                "POST", bidder.bid_url, content=body, headers=headers, timeout=timeout_s
            )
            response = await client.send(request, stream=True, follow_redirects=False)
            try:
                return await _read(response)
            finally:
                await response.aclose()
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError):
        return _failed(LossReason.BID_TIMEOUT, "unreachable")
    except Exception as fault:
        # A fault of ours with one bidder: the auction goes on without it.
        _log.error("bid_request_broke", feed_id=bidder.feed_id, auction_id=auction_id, exc_info=fault)
        return _failed(LossReason.BID_TIMEOUT, "unreachable")


async def _read(response: httpx.Response) -> Reply:
    status = response.status_code
    if status == 204:
        return Reply(time.monotonic(), code=LossReason.NO_BID)
    if status == 429 or status >= 500:
        # It will pass, as an invalid answer would not.
        return _failed(LossReason.NO_BID, f"http_{status}")
    if status != 200:
        return _failed(LossReason.BID_INVALID, f"http_{status}")
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        return _failed(LossReason.BID_INVALID, "content_encoding")
    whole = bytearray()
    async for piece in response.aiter_raw():
        whole += piece
        if len(whole) > MOST_BYTES:
            return _failed(LossReason.BID_INVALID, "too_large")
    return Reply(time.monotonic(), bytes(whole))


def _failed(code: LossReason, said: str) -> Reply:
    return Reply(time.monotonic(), code=code, said=said, failed=True)
