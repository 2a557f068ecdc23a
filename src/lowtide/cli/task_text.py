"""Tasks as people read them."""

import json
from typing import Any

import typer

from lowtide.cli.say import facts, money, plain, table, when
from lowtide.cli.service import Service

FINAL = ("succeeded", "failed", "unfilled", "expired", "cancelled")


def watched(service: Service, task_id: str) -> None:
    """Print each change of a task as it comes, until its end."""
    for kind, data in service.events(f"/v1/tasks/{task_id}/events"):
        event = json.loads(data)
        state = event.get("state", kind.partition(".")[2])
        typer.echo(f"{when(event['at'])}  {state}{_meaning(service, task_id, kind, event)}")


def _meaning(service: Service, task_id: str, kind: str, event: dict[str, Any]) -> str:
    """What an event means, in words: why it waits, or where it runs and at which price."""
    if kind.startswith("attempt."):
        return f": an attempt {kind.partition('.')[2]}" + (
            f" ({event['outcome']})" if event.get("outcome") else ""
        )
    task = service.get(f"/v1/tasks/{task_id}").data
    if event.get("state") == "held" and task["hold"]:
        return f": {task['hold']['reason']}"
    if event.get("state") == "running" and task["award"]:
        award = task["award"]
        return f" at {award['provider']} ({award['model']}, {award['lane']}) for {money(award['price_usd'])}"
    return f": {event['reason']}" if event.get("reason") else ""


def show_task(task: dict[str, Any]) -> None:
    """A task: where it stands and why, what it cost, and the answer."""
    facts(_head(task) + ([] if task["receipt"] is None else _receipt(task["receipt"])))
    failed = [one for one in task["attempts"] if one["state"] in ("failed", "unknown", "cancelled")]
    if failed:
        typer.echo("")
        table(
            ("attempt", "provider", "outcome", "cost", "detail"),
            [
                (
                    str(one["number"]),
                    one["provider"],
                    plain(one["outcome"]),
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


def _head(task: dict[str, Any]) -> list[tuple[str, str | None]]:
    hold, award, nearest = task["hold"], task["award"], task["nearest"]
    waits = hold is not None and task["state"] == "held"
    why = "" if not task["reason"] else f" ({task['reason']})"
    return [
        ("task", task["id"]),
        ("type", task["task_type"]),
        ("state", task["state"] + why),
        ("auction", f"{task['auction_id']}  (lowtide auctions show {task['auction_id']})"),
        ("waits", hold["reason"] if waits else None),
        ("release", when(hold["release_at"]) if waits else None),
        (
            "award",
            None
            if award is None
            else f"{award['provider']} {award['model']} ({award['lane']}), bid {money(award['bid_usd'])}, "
            f"price {money(award['price_usd'])}",
        ),
        (
            "nearest",
            None
            if nearest is None or task["state"] not in ("unfilled", "queued")
            else f"{nearest['provider']} {nearest['model']} ({nearest['lane']}), {nearest['reason']}, "
            f"bid {money(nearest['bid_usd'])}",
        ),
    ]


def _receipt(receipt: dict[str, Any]) -> list[tuple[str, str | None]]:
    immediate = receipt["immediate_usd"]
    saved = f", saved {money(receipt['saved_usd'])}" if receipt["saved_usd"] is not None else ""
    late = {True: "met", False: "missed", None: None}[receipt["deadline_met"]]
    return [
        ("paid", f"{money(receipt['paid_usd'])} of {money(receipt['authorized_usd'])} authorized"),
        ("at once", None if immediate is None else f"{money(immediate)}{saved}"),
        ("held", f"{receipt['held_s']:g} s" if receipt["held_s"] else None),
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
