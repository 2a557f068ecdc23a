"""What the market shows of tasks and estimates."""

from typing import Any

import orjson

from lowtide.api.views import money, when
from lowtide.exchange.estimate import Estimate
from lowtide.exchange.outage import waits
from lowtide.market.auction import Decision
from lowtide.market.explain import explanation
from lowtide.store.tables import Attempt, TaskPayload, TaskRow

_MONEY_FIELDS = {"max_cost_usd", "value_usd", "per_second_usd"}


def task(row: TaskRow, attempts: list[Attempt], payload: TaskPayload | None) -> dict[str, Any]:
    """A task as the contract shows it."""
    posted = orjson.loads(row.posted or "{}")
    result = orjson.loads(payload.result) if payload is not None and payload.result else None
    return {
        "id": row.id,
        "state": row.state,
        "reason": row.reason,
        "task_type": row.task_type,
        "job": row.job,
        "constraints": _constraints(row, posted),
        "objective": _shown(posted.get("objective", {})),
        "strategy": posted.get("strategy", "failover"),
        "labels": orjson.loads(row.labels or "{}"),
        "created_at": when(row.created_at),
        "finished_at": when(row.finished_at),
        "retry_at": when(row.release_at) if waits(row) else None,
        "auction_id": row.auction_id,
        "hold": _hold(row),
        "award": _award(row.award),
        "nearest": _nearest(row.nearest),
        "attempts": [_attempt(attempt) for attempt in attempts],
        "result": None
        if result is None
        else {
            "output": result["output"],
            "usage": result["usage"],
            "finish_reason": result["finish_reason"],
            "latency_ms": result["latency_ms"],
            "model": result["model"],
            "quality": None,
        },
        "receipt": _receipt(row.receipt),
    }


def _constraints(row: TaskRow, posted: dict[str, Any]) -> dict[str, Any]:
    shown = _shown(posted.get("constraints", {}))
    shown.pop("complete_within_s", None)
    return shown | ({"complete_by": when(row.complete_by)} if row.complete_by is not None else {})


def _shown(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: money(value) if name in _MONEY_FIELDS else when(value) if name == "complete_by" else value
        for name, value in values.items()
    }


def _hold(row: TaskRow) -> dict[str, Any] | None:
    if not row.hold:
        return None
    hold = orjson.loads(row.hold)
    return {
        "policy": hold["policy"],
        "release_at": when(hold["release_at"]),
        "latest_start": when(hold["latest_start"]),
        "slot_from": when(hold["slot"]),
        "offer_id": hold["offer_id"],
        "reservation_price_usd": money(hold["reservation"]),
        "price_now_usd": money(hold["price_now"]),
        "expected_price_usd": money(hold["expected"]),
        "reason": hold["reason"],
        "since": when(hold["since"]),
        "released_at": when(hold.get("released_at")),
    }


def _award(text: str | None) -> dict[str, Any] | None:
    if not text:
        return None
    award = orjson.loads(text)
    return {
        "offer_id": award["offer_id"],
        "provider": award["provider"],
        "model": award["model"],
        "lane": award["lane"],
        "bid_usd": money(award["bid"]),
        "price_usd": money(award["price"]),
        "rule": award["rule"],
        **({"rescue_at": when(award["rescue_at"])} if "rescue_at" in award else {}),
    }


def _nearest(text: str | None) -> dict[str, Any] | None:
    if not text:
        return None
    nearest = orjson.loads(text)
    return {name: nearest[name] for name in ("offer_id", "provider", "model", "lane", "reason")} | {
        "bid_usd": money(nearest["bid"])
    }


def _attempt(row: Attempt) -> dict[str, Any]:
    return {
        "id": row.id,
        "number": row.number,
        "auction_id": row.auction_id,
        "offer_id": row.offer_id,
        "provider": row.provider,
        "state": row.state,
        "outcome": row.outcome,
        "detail": row.detail,
        "cost_usd": money(row.cost_nano),
        "started_at": when(row.started_at),
        "ended_at": when(row.ended_at),
        "possibly_billed_twice": row.possibly_billed_twice,
    }


def _receipt(text: str | None) -> dict[str, Any] | None:
    if not text:
        return None
    receipt = orjson.loads(text)
    return {
        "status": receipt["status"],
        "authorized_usd": money(receipt["authorized"]),
        "paid_usd": money(receipt["paid"]),
        "list_usd": money(receipt["list"]),
        "immediate_usd": money(receipt["immediate"]),
        "saved_usd": money(receipt["saved"]),
        "deadline_met": receipt["deadline_met"],
        "held_s": receipt["held_ms"] / 1_000,
        "attempts": [
            {
                "offer_id": a["offer_id"],
                "provider": a["provider"],
                "outcome": a["outcome"],
                "cost_usd": money(a["cost"]),
                "possibly_billed_twice": a["possibly_billed_twice"],
            }
            for a in receipt["attempts"]
        ],
    }


def estimate(found: Estimate) -> dict[str, Any]:
    """What a task would cost now, and held until its deadline."""
    return {
        "as_of": when(found.as_of),
        "book_version": found.book.version,
        "outcome": found.posted.outcome,
        "now": _estimated(found, found.at_once),
        "held": _planned(found),
        "explanation": explanation(
            found.task, found.book, found.inputs, found.posted, found.as_of, found.key
        ),
    }


def _estimated(found: Estimate, decision: Decision) -> dict[str, Any] | None:
    if decision.winner is None:
        return None
    offer = found.book.rows[decision.winner.row].offer
    return {
        "offer_id": offer.id,
        "provider": offer.provider,
        "model": offer.model,
        "lane": offer.lane,
        "expected_usd": money(decision.price_nano),
        "worst_usd": money(decision.winner.worst_nano),
    }


def _planned(found: Estimate) -> dict[str, Any] | None:
    plan = found.posted.deferral
    if plan is None:
        return None
    offer = found.book.rows[plan.row].offer
    saved = None if plan.price_now_nano is None else plan.price_now_nano - plan.expected_nano
    return {
        "offer_id": offer.id,
        "provider": offer.provider,
        "model": offer.model,
        "lane": offer.lane,
        "expected_usd": money(plan.expected_nano),
        "release_at": when(plan.release_at),
        "latest_start": when(plan.latest_start),
        "saves_usd": money(saved),
    }
