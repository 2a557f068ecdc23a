"""`lowtide savings`."""

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from lowtide.cli.options import DEFAULT_URL, AsJson, Key, Url
from lowtide.cli.say import NOTHING, money, plain, table, when
from lowtide.cli.service import Service
from lowtide.cli.times import moment


def savings(
    from_: Annotated[
        str | None,
        typer.Option("--from", help="Arrivals since: a time with its zone, or -7d. [default: -28d]"),
    ] = None,
    to: Annotated[str | None, typer.Option(help="Arrivals until. [default: now]")] = None,
    days: Annotated[bool, typer.Option("--days", help="Show each day by itself.")] = False,
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Show what waiting came to: paid, at once, and had every price been known, by slack class.

    Example: lowtide savings --from -7d --days
    """
    found = Service(url, key).get(
        "/v1/savings",
        **{"from": None if from_ is None else moment(from_), "to": None if to is None else moment(to)},
    )
    if as_json:
        typer.echo(found.text)
        return
    groups = (
        [(one["day"], one["classes"]) for one in found.data["days"]]
        if days
        else [("all", found.data["classes"])]
    )
    table(
        ("day", "slack", "tasks", "paid", "vs at once", "captured", "regret", "p95", "dearer", "missed"),
        [
            (
                day,
                f"≤ {one['slack_hours']} h" if one["slack_hours"] else "longer",
                plain(one["tasks"]),
                money(one["paid_usd"]),
                NOTHING if one["vs_immediate"] is None else f"{one['vs_immediate']:.3f}",
                NOTHING if one["captured"] is None else f"{one['captured']:.0%}",
                money(one["regret_mean_usd"]),
                money(one["regret_p95_usd"]),
                plain(one["dearer"]),
                plain(one["missed"]),
            )
            for day, classes in groups
            for one in classes
        ],
        right=("tasks", "paid", "vs at once", "captured", "regret", "p95", "dearer", "missed"),
        empty="No task that was held has been looked back on yet: that is done a minute after the last instant at which it "
        "could have been started.",
    )
    if found.data["pending"]:
        typer.echo(_pending(found.data))


def _pending(answer: dict[str, Any]) -> str:
    """How many have ended and what is known of them, and when the rest will be."""
    count, at = answer["pending"], answer["next_at"]
    due = datetime.fromisoformat(at) <= datetime.now(UTC)
    return (
        f"{count} held {'task' if count == 1 else 'tasks'} ended and not looked back on: "
        f"paid {money(answer['pending_paid_usd'])}, at once {money(answer['pending_immediate_usd'])}. "
        "What an all-knowing market would have paid is known once their windows are over, "
        + ("the first in half a minute." if due else f"the first at {when(at)}.")
    )
