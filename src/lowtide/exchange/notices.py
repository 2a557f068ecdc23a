"""Notices to bidders: won, lost, settled. Written with what they tell of, and delivered at least once."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.exchange.award import dumped
from lowtide.exchange.bidder import Bidder, bidder_of
from lowtide.exchange.live import Asked
from lowtide.exchange.market import Market
from lowtide.market.auction import Decision
from lowtide.market.eligibility import LossReason
from lowtide.market.explain import min_to_win
from lowtide.market.task import Task
from lowtide.store import duties, notices, providers
from lowtide.values.ids import new_id
from lowtide.values.instants import DAY_US, SECOND_US, rfc3339
from lowtide.values.money import usd
from lowtide.values.webhooks import signed

WON, LOST, SETTLED = "won", "lost", "settled"
KEPT_US = 3 * DAY_US
"""A notice that could not be delivered for so long is given up."""
FIRST_PAUSE_US, MOST_PAUSE_US = 5 * SECOND_US, 10_800 * SECOND_US
AT_ONCE = 20
TIMEOUT_S, MOST_S = 5.0, 15.0
"""Of one notice, and of all that a feed gets before the others come again."""
LEASE_US = 60 * SECOND_US
_TOLD_PRICE = frozenset({LossReason.OUTBID, LossReason.LOST_TIE})
"""Lost on price to a rival: the price that would have tied is told. Elsewhere it would tell the budget."""
_UNTOLD = frozenset({LossReason.NO_BID, LossReason.NOT_ASKED})
_log = structlog.get_logger()


async def tell_outcome(conn: AsyncConnection, task: Task, asked: Asked, decision: Decision) -> None:
    """Write the notices of one decision: to the winner's bidder, and to each that lost with all its offers that did."""
    winner = None if decision.winner is None else decision.winner.row
    at, written = rfc3339(asked.as_of), list[tuple[Bidder, str, dict[str, Any]]]()
    lost: dict[Bidder, list[dict[str, Any]]] = {}
    for bid in asked.live:
        bidder = asked.bidders[bid.row]
        offer_id = decision.spot.book.rows[bid.row].offer.id
        if bid.row == winner and decision.winner is not None:
            told = {
                "offer_id": offer_id,
                "bid_usd": usd(decision.winner.bid_nano),
                "price_usd": usd(decision.price_nano or 0),
                "rule": decision.rule,
            }
            written.append((bidder, WON, told))
        elif bid.code not in _UNTOLD:
            lost.setdefault(bidder, []).append(
                {"offer_id": offer_id, "said": bid.said} | _why(task, decision, bid.row)
            )
    written += [
        (bidder, LOST, {"outcome": decision.outcome, "offers": offers}) for bidder, offers in lost.items()
    ]
    wanted = [(b, kind, told) for b, kind, told in written if kind in b.notify and b.notices_url]
    await _write(
        conn, [(b, kind, {"auction_id": asked.auction_id, "at": at, **told}) for b, kind, told in wanted]
    )


def _why(task: Task, decision: Decision, row: int) -> dict[str, Any]:
    reason = int(decision.reasons[row])
    price = min_to_win(task, decision, row) if reason in _TOLD_PRICE else None
    return {
        "loss_reason": LossReason(reason).code if reason else None,
        "min_to_win_usd": None if price is None else usd(price),
    }


async def tell_settled(
    conn: AsyncConnection, feed_id: str | None, offer_id: str, auction_id: str | None, told: Mapping[str, Any]
) -> None:
    """Write the notice of a settlement, where the award was a live bid whose bidder wants to know."""
    if feed_id is None:
        return
    feed = await providers.get_feed(conn, feed_id)
    if feed is None:
        return
    bidder = bidder_of(feed, "")
    if SETTLED in bidder.notify and bidder.notices_url:
        body = {"auction_id": auction_id, "offer_id": offer_id, **told}
        await _write(conn, [(bidder, SETTLED, body)])


async def _write(conn: AsyncConnection, told: Sequence[tuple[Bidder, str, Mapping[str, Any]]]) -> None:
    now = _wall_us()
    rows = []
    for bidder, kind, body in told:
        event_id = new_id("evt", now)
        message = {"type": f"bid.{kind}", "event_id": event_id, **body}
        rows.append(
            {
                "id": event_id,
                "feed_id": bidder.feed_id,
                "body": dumped(message),
                "due_at": now,
                "created_at": now,
            }
        )
    await notices.add_notices(conn, rows)


async def deliver_due(market: Market) -> int:
    """Deliver what is due, each feed's in its order and all feeds at once; how many arrived.

    A duty: one node does it. What a feed does not take is put off with everything else of it, longer each time.
    """
    now = _wall_us()
    async with market.database.read() as conn:
        waiting = await notices.feeds_due(conn, now)
    if not waiting or not await market.database.writer.write(
        lambda conn: duties.take_or_renew(conn, "notices", market.node, now, LEASE_US)
    ):
        return 0
    return sum(await asyncio.gather(*(_deliver_to(market, feed_id, now) for feed_id in waiting)))


async def _deliver_to(market: Market, feed_id: str, now: int) -> int:
    async with market.database.read() as conn:
        feed = await providers.get_feed(conn, feed_id)
        due = await notices.due_of(conn, feed_id, now, AT_ONCE)
    assert feed is not None  # a notice names the feed that it was written for
    bidder, arrived, failed = bidder_of(feed, ""), list[str](), None
    began = time.monotonic()
    for notice in due:
        if time.monotonic() - began > MOST_S:
            break
        fault = await _post(market.bid_client, bidder, notice.id, notice.body.encode())
        if fault is not None:
            failed = notice
            _log.info("notice_not_delivered", feed_id=feed_id, event_id=notice.id, fault=fault)
            break
        arrived.append(notice.id)

    async def unit(conn: AsyncConnection) -> None:
        await notices.forget(conn, arrived)
        if failed is not None:
            given_up = await notices.forget_before(conn, feed_id, now - KEPT_US)
            if given_up:
                _log.warning("notices_given_up", feed_id=feed_id, count=given_up)
            pause = min(FIRST_PAUSE_US * 3 ** min(failed.tries, 10), MOST_PAUSE_US)
            await notices.postpone(conn, feed_id, now, now + pause)

    if due:
        await market.database.writer.write(unit)
    return len(arrived)


async def _post(client: httpx.AsyncClient, bidder: Bidder, event_id: str, body: bytes) -> str | None:
    """Send one notice; what went wrong, or None where it was taken (2xx). The answer's body is nobody's business."""
    headers = {"content-type": "application/json"} | signed(bidder.secret, event_id, int(time.time()), body)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            request = client.build_request(
                "POST", bidder.notices_url or "", content=body, headers=headers, timeout=TIMEOUT_S
            )
            response = await client.send(request, stream=True, follow_redirects=False)
            await response.aclose()
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as fault:
        return str(fault) or type(fault).__name__
    return None if response.is_success else f"http_{response.status_code}"


def _wall_us() -> int:
    return time.time_ns() // 1_000
