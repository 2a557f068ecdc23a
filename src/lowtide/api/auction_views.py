"""What the market shows of auctions: in lists, and whole with every bid as replayed."""

from typing import Any

import orjson

from lowtide.api.views import money, prices, ratio, when
from lowtide.exchange.review import Reviewed
from lowtide.market.auction import Decision
from lowtide.market.book import Book
from lowtide.market.explain import BidView, bid_views, explanation, why_not
from lowtide.store.tables import AuctionRow, LogLine


def auction_row(row: AuctionRow) -> dict[str, Any]:
    """An auction as lists show it."""
    return {
        "id": row.id,
        "task_id": row.task_id or None,
        "kind": row.kind,
        "outcome": row.outcome,
        "reason": row.reason,
        "winner": row.winner,
        "provider": row.winner_provider,
        "clearing_price_usd": money(row.price_nano),
        "opened_at": when(row.as_of),
        "book_version": row.book_version,
    }


def auction(seen: Reviewed) -> dict[str, Any]:
    """The whole auction: the record, and every bid as replayed from it."""
    again, record = seen.replayed, orjson.loads(seen.line.line)
    views = bid_views(again.task, again.inputs, again.ids.as_of, again.key, again.decision)
    return recorded(seen.row, seen.line, record) | {
        "task_id": seen.row.task_id,
        "constraints": _decided_under(record["task"]),
        "outcome": record["outcome"],
        "reason": record["code"],
        "winner": record["winner"],
        "clearing_price_usd": money(record["price"]),
        "deferral": _deferral(record["deferral"], seen.book),
        "thin": bool(record["thin"]),
        "explanation": explanation(
            again.task, seen.book, again.inputs, again.decision, again.ids.as_of, again.key
        ),
        "bids": [bid(view, again.decision, seen.book, again.task) for view in views],
        "replay": replay(seen),
    }


def recorded(row: AuctionRow, line: LogLine, record: dict[str, Any]) -> dict[str, Any]:
    """What every auction shows of its record, whatever its kind."""
    return {
        "id": row.id,
        "kind": row.kind,
        "rule": record["rule"],
        "settlement": record["settlement"],
        "opened_at": when(row.as_of),
        "closed_at": when(row.as_of),
        "book_version": record["book"]["version"],
        "book_digest": record["book"]["digest"],
        "leaf_index": line.leaf_index,
        "leaf_hash": line.leaf_hash.hex(),
    }


def _decided_under(decided: dict[str, Any]) -> dict[str, Any]:
    """The limits that the record says the task had, in the contract's units."""
    limits, objective, lists = decided["constraints"], decided["objective"], decided["lists"]
    shown = {
        "min_quality": ratio(limits.get("min_quality")),
        "confidence": ratio(limits.get("confidence", 500_000)),
        "max_latency_ms": limits.get("max_latency_ms"),
        "max_cost_usd": money(limits.get("max_cost")),
        "complete_by": when(limits.get("complete_by")),
        "regions": limits.get("regions"),
        "zero_retention": bool(limits.get("zero_retention")) or None,
        "domain": decided["domain"],
        "modalities": decided["needs"]["modalities"],
        "features": decided["needs"]["features"] or None,
        "models": lists.get("models"),
        "providers": lists.get("providers"),
        "exclude_providers": lists.get("exclude_providers"),
        "value_usd": money(objective.get("value")),
        "per_second_usd": money(objective.get("per_second")),
        "fallback": objective.get("fallback"),
        "input_bytes": decided["bytes"],
        "max_output_tokens": decided["m"],
        "usual_output_tokens": decided["usual"],
    }
    return {name: value for name, value in shown.items() if value is not None}


def _deferral(found: dict[str, Any] | None, book: Book) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "policy": found["policy"],
        "offer_id": book.rows[found["row"]].offer.id,
        "slot_from": when(found["slot"]),
        "price_now_usd": money(found["price_now"]),
        "expected_price_usd": money(found["expected"]),
        "reservation_price_usd": money(found["reservation"]),
        "release_at": when(found["release_at"]),
        "latest_start": when(found["latest_start"]),
        **({"forecast": found["forecast"]} if "forecast" in found else {}),
    }


def bid(view: BidView, decision: Decision, book: Book, of_task: Any) -> dict[str, Any]:
    """One bid, with why it did not win."""
    return {
        "offer_id": view.offer.id,
        "provider": view.offer.provider,
        "model": view.offer.model,
        "lane": view.offer.lane,
        "unit_prices": prices(view.prices),
        "bid_usd": money(view.bid_nano),
        "worst_usd": money(view.worst_nano),
        "quality": {
            "claimed": ratio(view.claimed_ppm),
            "verified": ratio(view.verified_ppm),
            "lower_bound": ratio(view.lower_bound_ppm),
            "samples": view.samples_milli / 1_000,
        },
        "latency_ms": {"p50": view.p50_ms, "p95": view.p95_ms},
        "eligible": view.eligible,
        "loss_reason": view.loss_reason,
        "score_usd": money(view.score_nano),
        "rank": view.rank,
        "min_to_win_usd": money(view.min_to_win_nano),
        "live": _live(view),
        "why": why_not(of_task, book, decision, view),
    }


def _live(view: BidView) -> dict[str, Any] | None:
    """What the offer's bidder answered, where it was asked."""
    if view.live is None:
        return None
    return {"received_at": when(view.live.received_at), "said": view.live.said}


def replay(seen: Reviewed) -> dict[str, Any]:
    """Whether the auction, decided again, came out the same to the byte; else what differs."""
    again = seen.replayed
    if again.identical:
        return {"identical": True}
    return {
        "identical": False,
        "differences": [
            {"field": name, "stored": stored, "now": now} for name, stored, now in again.differences
        ],
    }
