"""`lowtide offers`: what is sold, and at which price."""

from typing import Annotated, Any

import typer

from lowtide.cli.offer_forecast import forecast
from lowtide.cli.offer_prices import prices
from lowtide.cli.offer_text import listing_facts, quote_table, show_offers
from lowtide.cli.offer_watch import watch
from lowtide.cli.options import DEFAULT_URL, After, AsJson, Key, Limit, Url, group
from lowtide.cli.say import facts, more
from lowtide.cli.service import Service, provider_id

app = group("What is sold, and at which price.")
app.command("prices")(prices)
app.command("forecast")(forecast)
app.command("watch")(watch)
OfferId = Annotated[str, typer.Argument(metavar="OFFER", help="Its id.")]


@app.command("list")
def list_(
    provider: Annotated[str | None, typer.Option(help="Only this provider's: its id or name.")] = None,
    model: Annotated[str | None, typer.Option(help="Only offers of this model.")] = None,
    url: Url = DEFAULT_URL,
    key: Key = None,
    limit: Limit = 50,
    after: After = None,
    as_json: AsJson = False,
) -> None:
    """List offers with their price now, in USD per million tokens.

    Example: lowtide offers list --provider north
    """
    service = Service(url, key)
    seller = None if provider is None else provider_id(service, provider)
    page = service.get("/v1/offers", provider_id=seller, model=model, limit=limit, after=after)
    if as_json:
        typer.echo(page.text)
        return
    show_offers(page.data["data"], service.get("/v1/book", model=model).data["data"])
    more(page.data)


@app.command("show")
def show(offer: OfferId, url: Url = DEFAULT_URL, key: Key = None, as_json: AsJson = False) -> None:
    """Show an offer with its quotes.

    Example: lowtide offers show off_01abc…
    """
    found = Service(url, key).get(f"/v1/offers/{offer}")
    if as_json:
        typer.echo(found.text)
        return
    facts(listing_facts(found.data))
    if not found.data["quotes"]:
        typer.echo(f"\nNo quote: it cannot win. Push one: lowtide offers quote {offer} --input … --output …")
        return
    typer.echo("")
    quote_table(found.data["quotes"])


@app.command("add")
def add(
    provider: Annotated[str, typer.Option(help="Whose offer: id or name.")],
    model: Annotated[str, typer.Option(help="The model as requesters name it.")],
    upstream_model: Annotated[
        str | None, typer.Option(help="The model as the provider names it. [default: the same]")
    ] = None,
    lane: Annotated[str, typer.Option(help="priority, standard, flex, batch or spot.")] = "standard",
    variant: Annotated[str, typer.Option(help="Tells offers of one model and lane apart.")] = "",
    context_window: Annotated[int | None, typer.Option(help="Tokens.")] = None,
    max_output_tokens: Annotated[int | None, typer.Option(help="Tokens.")] = None,
    modality: Annotated[list[str] | None, typer.Option(help="Repeat for several. [default: text]")] = None,
    feature: Annotated[
        list[str] | None, typer.Option(help="Such as tools or json_schema; repeat for several.")
    ] = None,
    region: Annotated[list[str] | None, typer.Option(help="Such as eu; repeat for several.")] = None,
    zero_retention: Annotated[bool, typer.Option("--zero-retention", help="Keeps no data.")] = False,
    concurrency: Annotated[int | None, typer.Option(help="Calls at a time.")] = None,
    requests_per_minute: Annotated[int | None, typer.Option(help="Calls a minute.")] = None,
    tokens_per_minute: Annotated[int | None, typer.Option(help="Tokens a minute.")] = None,
    p50_ms: Annotated[int | None, typer.Option(help="Median time to the first token.")] = None,
    p95_ms: Annotated[int | None, typer.Option(help="p95 of the time to the first token.")] = None,
    tokens_per_second: Annotated[int | None, typer.Option(help="Speed of output.")] = None,
    quality: Annotated[
        list[str] | None,
        typer.Option(help="Claimed quality: DOMAIN=VALUE or DOMAIN=VALUE:SAMPLES, such as general=0.9:200."),
    ] = None,
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """List an offer. It can win once a quote gives it a price.

    Example: lowtide offers add --provider north --model gpt-4o-mini --quality general=0.9:200
    """
    service = Service(url, key)
    body: dict[str, Any] = {
        "provider_id": provider_id(service, provider),
        "model": model,
        "upstream_model": upstream_model,
        "lane": lane,
        "variant": variant,
        "context_window": context_window,
        "max_output_tokens": max_output_tokens,
        "modalities": modality or None,
        "features": feature or None,
        "regions": region or None,
        "zero_retention": zero_retention,
        "capacity": {
            "concurrency": concurrency,
            "requests_per_minute": requests_per_minute,
            "tokens_per_minute": tokens_per_minute,
        },
        "latency": {"p50_ms": p50_ms, "p95_ms": p95_ms, "tokens_per_second": tokens_per_second},
        "quality_claims": [_claim(text) for text in quality or ()],
    }
    made = service.post("/v1/offers", {name: value for name, value in body.items() if value is not None})
    if as_json:
        typer.echo(made.text)
        return
    typer.echo(f"Offer {made.data['id']} is listed (book version {made.data['book_version']}).")
    typer.echo(f"Next, give it a price: lowtide offers quote {made.data['id']} --input 0.25 --output 1.25")


@app.command("source")
def source(
    offer: OfferId,
    whose: Annotated[str, typer.Argument(metavar="push|FEED", help="push, or a feed's id.")],
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Choose whose quotes are an offer's price: what is pushed, or a feed's. What others say is kept as reference.

    Example: lowtide offers source off_01abc… push
    """
    found = Service(url, key).patch(f"/v1/offers/{offer}", {"price_source": whose})
    if as_json:
        typer.echo(found.text)
        return
    version = found.data["book_version"]
    typer.echo(f"Offer {offer} takes its price from {whose} now (book version {version}).")


@app.command("withdraw")
def withdraw(offer: OfferId, url: Url = DEFAULT_URL, key: Key = None, as_json: AsJson = False) -> None:
    """Withdraw an offer: it loses every auction from now on; what it has won runs to its end.

    Example: lowtide offers withdraw off_01abc…
    """
    found = Service(url, key).delete(f"/v1/offers/{offer}")
    typer.echo(
        found.text if as_json else f"Offer {offer} is withdrawn (book version {found.data['book_version']})."
    )


def _claim(text: str) -> dict[str, Any]:
    domain, _, rest = text.partition("=")
    value, _, samples = rest.partition(":")
    try:
        return {"domain": domain, "quality": float(value), "sample_size": int(samples or 0)}
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no claim. Write one such as general=0.9:200.") from None
