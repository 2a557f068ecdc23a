"""The demo's sellers: twelve real models at their real catalog prices, three of them with a night tariff, simulated."""

from collections.abc import Sequence
from dataclasses import replace

from lowtide.exchange.market import Market
from lowtide.exchange.quotes import Pushed, push_quotes
from lowtide.exchange.register import register_offer, register_provider
from lowtide.feeds.catalog import catalog_listings
from lowtide.market.offer import Offer
from lowtide.market.quote import Quote, effective_quote
from lowtide.market.tariff import expand
from lowtide.simulate.models import SimulatedModel
from lowtide.store import offers, providers
from lowtide.store.tables import Provider
from lowtide.values.errors import SetupError
from lowtide.values.instants import DAY_US

SUFFIX = "-simulator"
HORIZON_US = 7 * DAY_US


async def register_sellers(market: Market, models: Sequence[SimulatedModel], zone: str) -> int:
    """See that providers, offers and quotes stand, whatever an earlier start got done; how many offers.

    Night tariffs run on the desk's clock.
    """
    now = market.now()
    pushed: list[Pushed] = []
    for model in models:
        provider = await _provider(market, model.provider)
        async with market.database.read() as conn:
            row = await offers.offer_by_key(conn, provider.id, model.upstream_model, "standard")
        if row is None:
            row, _ = await register_offer(market, provider, _offer(model))
        if row.price_source is None:
            pushed += [
                Pushed(row.id, quote.prices, quote.valid_from, quote.valid_until, 1)
                for quote in quotes_of(model, now, zone)
            ]
    if pushed:
        await push_quotes(market, pushed)
    return len(models)


async def _provider(market: Market, name: str) -> Provider:
    async with market.database.read() as conn:
        known = await providers.provider_by_name(conn, name + SUFFIX)
    return known or await register_provider(
        market,
        {
            "name": name + SUFFIX,
            "wire": "openai",
            "base_url": f"simulator:{name}",
            "simulated": True,
            "source": "demo",
        },
    )


def quotes_of(model: SimulatedModel, now: int, zone: str) -> tuple[Quote, ...]:
    """The model's catalog prices over a week, under its night tariff where it has one. Raises SetupError if unlisted."""
    listings = catalog_listings(model.provider, now, now + HORIZON_US, 1, include=(model.upstream_model,))
    if not listings:
        raise SetupError(
            f"The price catalog has no {model.upstream_model} of {model.provider}. Mend config/demo/models.toml."
        )
    quotes = listings[0].quotes
    if model.tariff is None:
        return quotes
    base = effective_quote(quotes, now)
    if base is None:
        raise SetupError(
            f"The price catalog has no price of {model.upstream_model} for now. Mend config/demo/models.toml."
        )
    return expand(replace(model.tariff, zone=zone), base.prices, now, now + HORIZON_US, 1)


def _offer(model: SimulatedModel) -> Offer:
    return Offer(
        "",
        model.provider + SUFFIX,
        model.model,
        model.upstream_model,
        context_window=model.context_window,
        max_output_tokens=model.max_output_tokens,
        latency=model.latency,
        claims=model.claims,
        domains=("support",),
    )
