"""Tasks as people read them."""

import json
from typing import Any

import typer

from lowtide.cli.offer_text import OfferNames, named
from lowtide.cli.say import facts, money, plain, span, table, when
from lowtide.cli.service import Service

FINAL = ("succeeded", "failed", "unfilled", "expired", "cancelled")


def state_of(task: dict[str, Any], pattern: str = " ({})") -> str:
    """A state with the code that led to it, which is said once where both are the same word."""
    reason = task["reason"]
    return str(task["state"]) + (pattern.format(reason) if reason and reason != task["state"] else "")


def show_task(service: Service, task: dict[str, Any]) -> None:
    """A task: where it stands and why, what it cost, and the answer. The service tells the names of its offers."""
    tried = OfferNames(service)
    facts(_head(task, tried) + ([] if task["receipt"] is None else _receipt(task["receipt"])))
    if any(one["state"] in ("failed", "unknown", "cancelled") for one in task["attempts"]):
        typer.echo("")
        table(
            ("attempt", "offer", "outcome", "cost", "detail"),
            [
                (
                    str(one["number"]),
                    tried(one["offer_id"], one["provider"]),
                    plain(one["outcome"] or one["state"]),
                    money(one["cost_usd"]),
                    plain(one["detail"]),
                )
                for one in task["attempts"]
            ],
            right=("cost",),
        )
    if task["result"] is not None:
        typer.echo("")
        typer.echo(answer(task["result"]["output"]))


def _head(task: dict[str, Any], tried: OfferNames) -> list[tuple[str, str | None]]:
    hold, nearest = task["hold"], task["nearest"]
    waits = hold is not None and task["state"] == "held"
    return [
        ("task", task["id"]),
        ("type", task["task_type"]),
        ("state", state_of(task)),
        ("auction", f"{task['auction_id']}  (lowtide auctions show {task['auction_id']})"),
        ("waits", hold["reason"] if waits else None),
        ("release", when(hold["release_at"]) if waits else None),
        ("tries again", when(task["retry_at"]) if task.get("retry_at") else None),
        ("award", None if task["award"] is None else _award(task, tried)),
        (
            "nearest",
            None
            if nearest is None or task["state"] not in ("unfilled", "queued")
            else f"{named(nearest)}, {nearest['reason']}, bid {money(nearest['bid_usd'])}",
        ),
    ]


def _award(task: dict[str, Any], tried: OfferNames) -> str:
    """Who won; after a failover also which winner of which auction began."""
    award, attempts = task["award"], task["attempts"]
    last = f"{named(award)}, bid {money(award['bid_usd'])}, expected price {money(award['price_usd'])}"
    if award.get("rescue_at") and task["state"] == "running":
        last += f", in a batch; rescued at {when(award['rescue_at'])} if it is not back"
    if not attempts or all(one["offer_id"] == award["offer_id"] for one in attempts):
        return last
    first = attempts[0]
    return (
        f"{tried(first['offer_id'], first['provider'])} won auction {first['auction_id']} and began; "
        f"after failover {last}"
    )


def _receipt(receipt: dict[str, Any]) -> list[tuple[str, str | None]]:
    immediate = receipt["immediate_usd"]
    saved = f", saved {money(receipt['saved_usd'])}" if receipt["saved_usd"] is not None else ""
    late = {True: "met", False: "not met", None: None}[receipt["deadline_met"]]
    return [
        ("paid", f"{money(receipt['paid_usd'])} of {money(receipt['authorized_usd'])} authorized"),
        ("at once", None if immediate is None else f"{money(immediate)}{saved}"),
        ("held", span(receipt["held_s"]) if receipt["held_s"] else None),
        ("deadline", late),
    ]


def answer(output: Any) -> str:
    """The text of an answer; JSON where it is more than text."""
    if isinstance(output, str):
        return output
    if isinstance(output, dict) and isinstance(output.get("content"), str) and not output.get("tool_calls"):
        return str(output["content"])
    if isinstance(output, list) and len(output) == 1:
        return answer(output[0])
    return json.dumps(output, ensure_ascii=False, indent=2)


def show_estimate(found: dict[str, Any]) -> None:
    """What it would cost now and held."""
    rows = []
    for name, plan in (("now", found["now"]), ("held", found["held"])):
        if plan is not None:
            rows.append(
                (
                    name,
                    plan["provider"],
                    plan["model"],
                    plan["lane"],
                    money(plan["expected_usd"]),
                    money(plan.get("worst_usd")),
                    when(plan.get("release_at")) if name == "held" else when(found["as_of"]),
                    money(plan.get("saves_usd")),
                )
            )
    if rows:
        table(
            ("", "provider", "model", "lane", "expected", "worst", "start", "saves"),
            rows,
            right=("expected", "worst", "saves"),
        )
        typer.echo("")
    typer.echo(found["explanation"])
