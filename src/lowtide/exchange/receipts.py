"""What is kept and told of a task's end: its receipt, the log's line, and what a bidder is told."""

from typing import Any

from lowtide.market.usage import Usage
from lowtide.store.tables import Attempt, TaskRow
from lowtide.values.canonical import canonical
from lowtide.values.instants import rfc3339
from lowtide.values.money import usd


def receipt_values(
    row: TaskRow,
    tried: list[Attempt],
    paid: int,
    list_cost: int | None,
    immediate: int | None,
    *,
    status: str,
    deadline_met: bool | None,
    held_us: int,
) -> dict[str, Any]:
    """The receipt as the task keeps it; money in nano-USD, None where there is nothing to compare."""
    return {
        "status": status,
        "authorized": row.authorized_nano,
        "paid": paid,
        "list": list_cost,
        "immediate": immediate,
        "saved": None if immediate is None else immediate - paid,
        "deadline_met": deadline_met,
        "held_ms": held_us // 1_000,
        "attempts": [
            {
                "offer_id": a.offer_id,
                "provider": a.provider,
                "outcome": a.outcome or a.state,
                "cost": a.cost_nano,
                "possibly_billed_twice": a.possibly_billed_twice,
            }
            for a in tried
        ],
    }


def settlement_line(row: TaskRow, state: str, receipt: dict[str, Any], at: int) -> bytes:
    """The log's line of a task's end: it names the auction and touches no record."""
    return canonical(
        {
            "type": "settlement",
            "auction_id": row.auction_id,
            "task_id": row.id,
            "state": str(state),
            "at": at,
            "paid": receipt["paid"],
            "list": receipt["list"],
            "immediate": receipt["immediate"],
            "attempts": [[a["offer_id"], a["outcome"], a["cost"]] for a in receipt["attempts"]],
        }
    )


def settled_values(
    state: str, receipt: dict[str, Any], at: int, usage: Usage | None = None
) -> dict[str, Any]:
    """What a bidder is told of the end of a task that it won."""
    return {
        "at": rfc3339(at),
        "state": str(state),
        "paid_usd": usd(receipt["paid"]),
        "usage": None if usage is None else usage_values(usage),
    }


def usage_values(usage: Usage) -> dict[str, int]:
    """The JSON form of a usage, tokens."""
    return {
        "input_tokens": usage.input,
        "output_tokens": usage.output,
        "cached_tokens": usage.cached,
        "cache_write_tokens": usage.cache_write,
        "reasoning_tokens": usage.reasoning,
    }
