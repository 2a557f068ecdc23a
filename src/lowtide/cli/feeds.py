"""`lowtide feeds`."""

from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from lowtide.cli import feed_text, feed_try
from lowtide.cli.options import DEFAULT_URL, After, AsJson, Key, Limit, Url, group
from lowtide.cli.say import more, plain, table, when
from lowtide.cli.service import Service, every, provider_id, table_file
from lowtide.cli.times import duration_s, moment
from lowtide.values.instants import micros, parse_instant

app = group("Where prices come from, and how each source does.")
_Feed = Annotated[str, typer.Argument(metavar="FEED", help="Its id.")]
_Format = Annotated[
    str | None,
    typer.Option(
        "--format", help="lowtide, openrouter, litellm, openai_models, csv, … [default: recognised]"
    ),
]
_Include = Annotated[
    list[str] | None,
    typer.Option(
        help="Pattern of models to take, by the list's or the market's name: gpt-*; repeat. [default: all]"
    ),
]
_Exclude = Annotated[list[str] | None, typer.Option(help="Pattern of models to leave out; repeat.")]
_Lane = Annotated[
    list[str] | None, typer.Option("--lane", help="Only this lane; repeat. [default: all that are priced]")
]
_Select = Annotated[
    str | None,
    typer.Option(help="In LiteLLM's map: the litellm_provider to take, or a pattern; '*' takes all."),
]
_Prices = Annotated[
    str | None,
    typer.Option(
        metavar="INPUT/OUTPUT",
        help="For a list of models without prices: what each costs, USD per million tokens.",
    ),
]
_Rows = Annotated[int, typer.Option("--limit", min=0, help="How many offers to show.")]


@app.command("list")
def list_(
    provider: Annotated[str | None, typer.Option(help="Only this provider's: its id or name.")] = None,
    url: Url = DEFAULT_URL,
    key: Key = None,
    limit: Limit = 50,
    after: After = None,
    as_json: AsJson = False,
) -> None:
    """List feeds.

    Example: lowtide feeds list
    """
    service = Service(url, key)
    seller = None if provider is None else provider_id(service, provider)
    page = service.get("/v1/feeds", provider_id=seller, limit=limit, after=after)
    if as_json:
        typer.echo(page.text)
        return
    names = {row["id"]: row["name"] for row in every(service, "/v1/providers")}
    table(
        ("id", "provider", "kind", "state", "last success", "accepted", "refused"),
        [
            (
                row["id"],
                names.get(row["provider_id"], row["provider_id"]),
                row["kind"],
                row["state"],
                when(row["health"]["last_success"]),
                plain(row["health"]["quotes_accepted"]),
                plain(row["health"]["quotes_refused"]),
            )
            for row in page.data["data"]
        ],
        right=("accepted", "refused"),
        empty="Register one with `lowtide feeds add`; providers of config/providers have one each once their key is set.",
    )
    more(page.data)


@app.command("show")
def show(feed: _Feed, url: Url = DEFAULT_URL, key: Key = None, as_json: AsJson = False) -> None:
    """Show a feed's health: last success, lag, errors, and what was refused and why.

    Example: lowtide feeds show feed_01abc…
    """
    found = Service(url, key).get(f"/v1/feeds/{feed}")
    if as_json:
        typer.echo(found.text)
        return
    feed_text.show_feed(found.data)


@app.command("try")
def try_(
    source: Annotated[
        str, typer.Argument(metavar="URL|FILE", help="A price list, or a tariff in TOML; - is stdin.")
    ],
    format_: _Format = None,
    provider: Annotated[str, typer.Option(help="The provider's name in offers.")] = "provider",
    select: _Select = None,
    include: _Include = None,
    exclude: _Exclude = None,
    lane: _Lane = None,
    prices: _Prices = None,
    input_: Annotated[
        str, typer.Option("--input", help="For a tariff: the base, USD per million input tokens.")
    ] = "1",
    output: Annotated[
        str, typer.Option("--output", help="For a tariff: the base, USD per million output tokens.")
    ] = "1",
    at: Annotated[str | None, typer.Option(help="As of when: a time with its zone. [default: now]")] = None,
    limit: _Rows = 20,
    as_json: AsJson = False,
) -> None:
    """Show what the market would understand, without registering anything; no market need run.

    Example: lowtide feeds try prices.csv
    """
    document = feed_try.document_of(source)
    as_of = None if at is None else micros(parse_instant(moment(at)))
    tariff = feed_try.tariff_of(document, source) if format_ is None else None
    if tariff is not None:
        feed_try.show_tariff(tariff, feed_try.price(input_), feed_try.price(output), as_of)
        return
    context = feed_try.context_of(
        provider,
        as_of,
        None if prices is None else feed_try.both_prices(prices),
        select=select or "*",
        include=tuple(include or ("*",)),
        exclude=tuple(exclude or ()),
        lanes=tuple(lane) if lane else None,
    )
    found = feed_try.as_data(feed_try.read(document, format_, context), context)
    if as_json:
        typer.echo(orjson.dumps(found))
        return
    feed_try.show_reading(found, limit)


@app.command("add")
def add(
    provider: Annotated[str, typer.Argument(help="Whose prices: id or name.")],
    poll: Annotated[
        str | None, typer.Option(help="The URL of a price list, to be read again and again.")
    ] = None,
    tariff: Annotated[Path | None, typer.Option(help="A tariff file (TOML or JSON) for --offer.")] = None,
    catalog: Annotated[str | None, typer.Option(help="The provider's id in genai-prices.")] = None,
    bid_url: Annotated[str | None, typer.Option(help="A live bidder, asked for each task.")] = None,
    format_: _Format = None,
    interval: Annotated[str, typer.Option(help="Between two readings: 30s, 5m, 1h.")] = "5m",
    valid_for: Annotated[str, typer.Option(help="How long a price counts after it was read.")] = "1d",
    authorize: Annotated[
        bool, typer.Option("--authorize", help="Send the provider's key, to its own address only.")
    ] = False,
    select: _Select = None,
    include: _Include = None,
    exclude: _Exclude = None,
    lane: _Lane = None,
    prices: _Prices = None,
    offer: Annotated[
        list[str] | None,
        typer.Option(
            help="With --tariff: OFFER=INPUT/OUTPUT, base prices in USD per million tokens; repeat."
        ),
    ] = None,
    timeout_ms: Annotated[int, typer.Option(help="With --bid-url: how long an auction waits for it.")] = 80,
    notices_url: Annotated[str | None, typer.Option(help="With --bid-url: where wins are told.")] = None,
    notify: Annotated[list[str] | None, typer.Option(help="won, lost or settled; repeat.")] = None,
    limit: _Rows = 20,
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Register a feed: one of --poll, --tariff, --catalog and --bid-url. It is read at once; what is wrong is told.

    Example: lowtide feeds add north --poll https://north.example/prices.json --interval 10m
    """
    service = Service(url, key)
    picks = {"include": include, "exclude": exclude, "lanes": lane}
    ways: dict[str, dict[str, Any] | None] = {
        "poll": None
        if poll is None
        else {
            "url": poll,
            "format": format_,
            "interval_s": int(duration_s(interval)),
            "valid_for_s": int(duration_s(valid_for)),
            "select": select,
            "authorize": authorize or None,
            "prices": None if prices is None else feed_try.both_prices(prices),
            **picks,
        },
        "tariff": None if tariff is None else {"tariff": table_file(tariff), "offers": _bases(offer)},
        "catalog": None if catalog is None else {"catalog": catalog, **picks},
        "live": None
        if bid_url is None
        else {
            "bid_url": bid_url,
            "timeout_ms": timeout_ms,
            "notices_url": notices_url,
            "notify": notify,
            "include": include,
        },
    }
    chosen = [(kind, fields) for kind, fields in ways.items() if fields is not None]
    if len(chosen) != 1:
        raise typer.BadParameter("Give one of --poll URL, --tariff FILE, --catalog ID and --bid-url URL.")
    kind, fields = chosen[0]
    body = {name: value for name, value in fields.items() if value is not None}
    made = service.post("/v1/feeds", {"provider_id": provider_id(service, provider), "kind": kind, **body})
    if as_json:
        typer.echo(made.text)
        return
    feed_text.show_read(made.data, limit)


@app.command("run")
def run(
    feed: _Feed, limit: _Rows = 20, url: Url = DEFAULT_URL, key: Key = None, as_json: AsJson = False
) -> None:
    """Read a feed now, whatever its next run.

    Example: lowtide feeds run feed_01abc…
    """
    found = Service(url, key).post(f"/v1/feeds/{feed}/run")
    if as_json:
        typer.echo(found.text)
        return
    feed_text.show_read(found.data, limit)


@app.command("close")
def close(feed: _Feed, url: Url = DEFAULT_URL, key: Key = None, as_json: AsJson = False) -> None:
    """Close a feed: it is read no more, and the offers that it listed are withdrawn.

    Example: lowtide feeds close feed_01abc…
    """
    found = Service(url, key).delete(f"/v1/feeds/{feed}")
    typer.echo(
        found.text
        if as_json
        else f"Feed {feed} is closed. What it listed is withdrawn; what else it priced waits for another source."
    )


def _bases(offers: list[str] | None) -> list[dict[str, Any]]:
    """The offers of a tariff with their base prices. A wrong call where there are none."""
    if not offers:
        raise typer.BadParameter("--tariff needs --offer OFFER=INPUT/OUTPUT, such as off_01abc…=0.25/1.25.")
    found = []
    for text in offers:
        offer_id, equals, prices = text.partition("=")
        if not offer_id or not equals:
            raise typer.BadParameter(
                f"{text!r} is none. Write OFFER=INPUT/OUTPUT, such as off_01abc…=0.25/1.25."
            )
        found.append({"offer_id": offer_id, "prices": feed_try.both_prices(prices)})
    return found
