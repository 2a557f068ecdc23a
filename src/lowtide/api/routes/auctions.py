"""Auctions: list, read with every bid, ask why, replay, export."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query

from lowtide.api import answers, auction_answers, auction_views, call_views
from lowtide.api.auth import Principal, Reader
from lowtide.api.context import TheMarket
from lowtide.api.contract import told
from lowtide.api.json_body import StrictRoute
from lowtide.api.pages import After, Limit, page
from lowtide.api.streams import JsonLines
from lowtide.exchange.review import Reviewed, export, review
from lowtide.exchange.review_call import review_call
from lowtide.market.clearing.record import CALL
from lowtide.market.explain import bid_views, why_not
from lowtide.store import auctions, tasks
from lowtide.values.errors import BadValue, FieldError, Forbidden, InvalidRequest, NotFound
from lowtide.values.instants import micros, parse_instant

router = APIRouter(tags=["auctions"], route_class=StrictRoute)
Outcome = Literal["awarded", "held", "queued", "unfilled"]


@router.get("/auctions", summary="List auctions", responses=told(answers.Page[auction_answers.AuctionListed]))
async def list_auctions(
    market: TheMarket,
    who: Reader,
    task_id: str | None = None,
    provider: Annotated[str | None, Query(description="the winner's")] = None,
    outcome: Outcome | None = None,
    reason: str | None = None,
    from_: Annotated[str | None, Query(alias="from")] = None,
    to: str | None = None,
    limit: Limit = 50,
    after: After = None,
) -> dict[str, Any]:
    """Newest first."""
    async with market.database.read() as conn:
        rows = await auctions.list_auctions(
            conn,
            account_id=who.account_filter,
            task_id=task_id,
            provider=provider,
            outcome=outcome,
            reason=reason,
            from_us=_instant(from_, "from"),
            to_us=_instant(to, "to"),
            after=after,
            limit=limit + 1,
        )
    return page(rows, limit, auction_views.auction_row, lambda row: row.id)


@router.get("/auctions/export", summary="Export the log", response_class=JsonLines)
async def export_auctions(
    market: TheMarket, who: Reader, format_: Annotated[Literal["jsonl"], Query(alias="format")] = "jsonl"
) -> JsonLines:
    """JSONL, each line with a `type`: book lines before their first use, the log's lines, finished hours' seeds."""
    if not who.sees_all:
        raise Forbidden("The whole log is for auditors and operators.")
    return JsonLines(
        export(market),
        headers={"Content-Disposition": f'attachment; filename="auctions.{format_}"'},
    )


@router.get(
    "/auctions/{auction_id}",
    summary="Read an auction with every bid",
    responses=told(auction_answers.Auction),
)
async def read_auction(auction_id: str, market: TheMarket, who: Reader) -> dict[str, Any]:
    """The record, and every bid as replayed from it, with the reason why it lost."""
    if await _is_call(market, who, auction_id):
        return call_views.call_auction(await review_call(market, auction_id))
    return auction_views.auction(await _reviewed(market, who, auction_id))


@router.get(
    "/auctions/{auction_id}/why", summary="Why an offer did not win", responses=told(auction_answers.Why)
)
async def why(auction_id: str, offer_id: str, market: TheMarket, who: Reader) -> dict[str, Any]:
    """One sentence on why, and what the offer would have had to bid, or to prove."""
    if await _is_call(market, who, auction_id):
        raise NotFound(
            f"{auction_id} is a call auction: it placed many tasks together, and has shadow prices instead of bids. "
            f"Read it with GET /v1/auctions/{auction_id}.",
            code="unknown_offer",
        )
    seen = await _reviewed(market, who, auction_id)
    again = seen.replayed
    for view in bid_views(again.task, again.inputs, again.ids.as_of, again.key, again.decision):
        if view.offer.id == offer_id:
            return {
                "auction_id": auction_id,
                "offer_id": offer_id,
                "loss_reason": view.loss_reason,
                "why": why_not(again.task, seen.book, again.decision, view),
                "bid": auction_views.bid(view, again.decision, seen.book, again.task),
            }
    raise NotFound(f"Offer {offer_id} was not in the book of auction {auction_id}.", code="unknown_offer")


@router.post(
    "/auctions/{auction_id}/replay",
    summary="Decide an auction again",
    responses=told(auction_answers.ReplayOf),
)
async def replay_auction(auction_id: str, market: TheMarket, who: Reader) -> dict[str, Any]:
    """From the record and the book version it names: `identical`, or what differs."""
    if await _is_call(market, who, auction_id):
        seen = await review_call(market, auction_id, again=True)
        return call_views.replay(seen) | {"auction_id": auction_id}
    return auction_views.replay(await _reviewed(market, who, auction_id)) | {"auction_id": auction_id}


async def _is_call(market: TheMarket, who: Principal, auction_id: str) -> bool:
    """Whether it is a call auction that the key may see: a requester those that placed a task of its account."""
    async with market.database.read() as conn:
        row = await auctions.get_auction(conn, auction_id)
        if row is None or row.kind != CALL:
            return False
        if who.account_filter is None or await tasks.any_decided_by(conn, who.account_filter, auction_id):
            return True
    raise NotFound(f"No auction {auction_id} of this key's account.", code="unknown_auction")


async def _reviewed(market: TheMarket, who: Principal, auction_id: str) -> Reviewed:
    try:
        seen = await review(market, auction_id)
    except NotFound:
        raise NotFound(
            f"No auction {auction_id}. List them with GET /v1/auctions.", code="unknown_auction"
        ) from None
    if who.account_filter is not None:
        async with market.database.read() as conn:
            task = await tasks.get_task(conn, seen.row.task_id)
        if task is None or task.account_id != who.account_filter:
            raise NotFound(f"No auction {auction_id} of this key's account.", code="unknown_auction")
    return seen


def _instant(text: str | None, name: str) -> int | None:
    if text is None:
        return None
    try:
        return micros(parse_instant(text))
    except BadValue as fault:
        raise InvalidRequest(
            fault.detail, code=fault.code, errors=(FieldError(f"?{name}", fault.code, fault.detail),)
        ) from None
