"""`lowtide savings`."""

from typing import Annotated

import typer

from lowtide.cli.options import DEFAULT_URL, AsJson, Key, Url
from lowtide.cli.say import NOTHING, money, plain, table
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
        empty="Tasks with a deadline that were held show here once their window is over.",
    )
    if found.data["pending"]:
        typer.echo(f"{found.data['pending']} more have ended; their window is not over yet.")
