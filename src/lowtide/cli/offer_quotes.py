"""`lowtide offers quote`, `quotes`, `confirm` and `cancel`: the prices of offers, one by one."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from lowtide.cli.offer_text import quote_table
from lowtide.cli.offers import OfferId
from lowtide.cli.options import DEFAULT_URL, After, AsJson, Key, Limit, Url
from lowtide.cli.say import more
from lowtide.cli.service import Service, json_file
from lowtide.cli.times import moment

_Quote = Annotated[str, typer.Argument(metavar="QUOTE", help="Its id, as `lowtide offers quotes` shows it.")]


def quote(
    offer: OfferId,
    input_: Annotated[str | None, typer.Option("--input", help="USD per million input tokens.")] = None,
    output: Annotated[str | None, typer.Option("--output", help="USD per million output tokens.")] = None,
    cached_input: Annotated[str | None, typer.Option(help="USD per million cached input tokens.")] = None,
    per_request: Annotated[str | None, typer.Option(help="USD per request.")] = None,
    from_: Annotated[
        str | None, typer.Option("--from", help="From when: a time with its zone, or +2h. [default: now]")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Until when, likewise. [default: until replaced]")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Calls at a time that are sold at it.")] = None,
    firm_for: Annotated[
        str | None, typer.Option(help="Stand by it so long, such as 6h; at most 48h.", show_default=False)
    ] = None,
    sequence: Annotated[
        int | None, typer.Option(min=0, help="Newer than the last. [default: the next]")
    ] = None,
    curve: Annotated[
        Path | None,
        typer.Option(help='A JSON file of slots: [{"prices": {…}, "valid_from": "…", "valid_until": "…"}].'),
    ] = None,
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Push a price. Where quotes overlap, the newest sequence counts; where none covers an instant, there is no price.

    Prices that follow each other must tile: give absolute times, the same for --until and the next --from, or all at
    once as a --curve. Times such as +2h are counted anew at each call, so two calls leave a gap.

    Example: lowtide offers quote off_01abc… --input 0.25 --output 1.25 --from 2027-01-01T22:00:00Z
    """
    body: dict[str, Any]
    if curve is not None:
        if any(value is not None for value in (input_, output, cached_input, per_request, from_, until)):
            raise typer.BadParameter("--curve brings its own prices and times. Leave the others out.")
        slots = json_file(curve)
        body = {"curve": slots["curve"] if isinstance(slots, dict) and "curve" in slots else slots}
    elif input_ is None or output is None:
        raise typer.BadParameter("Give --input and --output, or --curve FILE.json.")
    else:
        prices = {
            "input_per_mtok": input_,
            "output_per_mtok": output,
            "cached_input_per_mtok": cached_input,
            "per_request": per_request,
        }
        body = {
            "prices": {name: value for name, value in prices.items() if value is not None},
            "valid_from": None if from_ is None else moment(from_),
            "valid_until": None if until is None else moment(until),
        }
    if concurrency is not None:
        body["capacity"] = {"concurrency": concurrency}
    if firm_for is not None:
        body["firm_until"] = moment(f"+{firm_for}")
    if sequence is not None:
        body["sequence"] = sequence
    made = Service(url, key).post(f"/v1/offers/{offer}/quotes", body)
    if as_json:
        typer.echo(made.text)
        return
    quote_table(made.data["quotes"])
    for one in made.data["quotes"]:
        if one["held_back"]:
            typer.echo(
                f"Held back: {one['held_back']}. Push it again to confirm, or `lowtide offers confirm {one['id']}`."
            )
        if one["warning"]:
            typer.echo(f"Warning: {one['warning']}")
    typer.echo(f"The book has it (version {made.data['book_version']}).")


def quotes(
    offer: Annotated[
        str | None, typer.Argument(metavar="OFFER", help="Only this offer's.", show_default=False)
    ] = None,
    quarantined: Annotated[
        bool, typer.Option("--quarantined", help="Only those that are held back as suspicious.")
    ] = False,
    url: Url = DEFAULT_URL,
    key: Key = None,
    limit: Limit = 50,
    after: After = None,
    as_json: AsJson = False,
) -> None:
    """List quotes as they were taken, the latest first: from where, when, and whether they are held back.

    Example: lowtide offers quotes --quarantined
    """
    page = Service(url, key).get(
        "/v1/quotes",
        offer_id=offer,
        quarantined="true" if quarantined else None,
        limit=limit,
        after=after,
    )
    if as_json:
        typer.echo(page.text)
        return
    quote_table(page.data["data"], ids=True)
    more(page.data)


def confirm(quote: _Quote, url: Url = DEFAULT_URL, key: Key = None, as_json: AsJson = False) -> None:
    """Let a quote that is held back count (operators).

    Example: lowtide offers confirm quo_01abc…
    """
    found = Service(url, key).patch(f"/v1/quotes/{quote}", {"quarantined": False})
    typer.echo(
        found.text if as_json else f"Quote {quote} counts now (book version {found.data['book_version']})."
    )


def cancel(quote: _Quote, url: Url = DEFAULT_URL, key: Key = None, as_json: AsJson = False) -> None:
    """End a quote now; what lay below it counts again. A firm one stands until its time is up.

    Example: lowtide offers cancel quo_01abc…
    """
    found = Service(url, key).delete(f"/v1/quotes/{quote}")
    typer.echo(
        found.text if as_json else f"Quote {quote} is over (book version {found.data['book_version']})."
    )


COMMANDS: dict[str, Callable[..., None]] = {
    "quote": quote,
    "quotes": quotes,
    "confirm": confirm,
    "cancel": cancel,
}
