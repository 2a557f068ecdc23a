"""`lowtide offers forecast`: what an offer is expected to cost."""

from typing import Annotated, Any

import typer

from lowtide.cli.options import DEFAULT_URL, AsJson, Key, Url
from lowtide.cli.say import NOTHING, facts, money, table, when
from lowtide.cli.service import Service
from lowtide.cli.times import moment


def forecast(
    offer: Annotated[str, typer.Argument(metavar="OFFER", help="Its id.")],
    until: Annotated[
        str | None, typer.Option(help="Until when: a time with its zone, or +12h. [default: a day from now]")
    ] = None,
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Show what an offer is expected to cost: posted steps, forecast quantiles, and how such forecasts did.

    Example: lowtide offers forecast off_01abc… --until +12h
    """
    sent = {} if until is None else {"until": moment(until)}
    found = Service(url, key).get(f"/v1/offers/{offer}/forecast", **sent)
    if as_json:
        typer.echo(found.text)
        return
    _show(found.data)


def _show(told: dict[str, Any]) -> None:
    call = told["reference_call"]
    size = f"a call of {call['input_tokens']:,} input and {call['output_tokens']:,} output tokens"
    facts(
        (
            ("offer", told["offer_id"]),
            ("price", f"of {size}"),
            ("now", money(told["price_now_usd"])),
            ("policy", told["policy"]),
            ("made", None if told["made_at"] is None else when(told["made_at"])),
        )
    )
    if told["known"]:
        typer.echo("\nPosted:")
        steps = [(when(step["from"]), money(step["price_usd"])) for step in told["known"]]
        table(("from", "price"), steps, right=("price",))
    if told["note"] is not None:
        typer.echo(f"\n{told['note']}")
        return
    typer.echo("\nForecast:")
    names = ("p10_usd", "p50_usd", "p90_usd")
    rows = [(when(slot["at"]), *(money(slot[name]) for name in names)) for slot in told["quantiles"]]
    table(("from", "p10", "p50", "p90"), rows, right=("p10", "p50", "p90"), empty="No slot begins by then.")
    typer.echo("\nTasks of the last 28 days would have done so by these forecasts:")
    scores = [
        (f"{score['slack_hours']} h", _share(score["captured"]), _share(score["saved"]))
        for score in told["score"]
    ]
    columns = ("slack", "of what could be saved", "of the cost at once")
    table(columns, scores, right=columns)
    if told["pool"] is not None:
        _show_pool(told["pool"])


def _show_pool(pool: dict[str, Any]) -> None:
    typer.echo(
        f"\nWhere any of the {len(pool['offer_ids'])} offers of its model and lane may serve them, of what could be saved:"
    )
    rows = [
        (
            f"{score['slack_hours']} h",
            _share(score["captured"]),
            _share(score["captured_alone"]),
            "the pool's" if score["used"] else "their own",
        )
        for score in pool["score"]
    ]
    columns = ("slack", "with the pool's forecast", "with their own alone", "used")
    table(columns, rows, right=columns[:3])


def _share(share: float | None) -> str:
    return NOTHING if share is None else f"{share:.1%}"
