"""The demo's sellers: twelve real models at their real catalog prices, three of them with a night tariff, simulated."""

from collections.abc import Sequence
from dataclasses import replace

from lowtide.exchange.market import Market
from lowtide.exchange.register import Pushed, push_quotes, register_offer, register_provider
from lowtide.feeds.catalog import catalog_listings
from lowtide.market.offer import Offer
from lowtide.market.quote import Quote, effective_quote
from lowtide.market.tariff import expand
from lowtide.simulate.models import SimulatedModel
from lowtide.store.tables import Provider
from lowtide.values.errors import SetupError
from lowtide.values.instants import DAY_US

SUFFIX = "-simulator"
HORIZON_US = 7 * DAY_US


async def register_sellers(market: Market, models: Sequence[SimulatedModel], zone: str) -> int:
    """Register providers, offers and quotes from now on; how many offers. Night tariffs run on the desk's clock."""
    now = market.now()
    providers: dict[str, Provider] = {}
    pushed: list[Pushed] = []
    for model in models:
        if model.provider not in providers:
            providers[model.provider] = await register_provider(
                market,
                {
                    "name": model.provider + SUFFIX,
                    "wire": "openai",
                    "base_url": f"simulator:{model.provider}",
                    "simulated": True,
                    "source": "demo",
                },
            )
        row, _ = await register_offer(market, providers[model.provider], _offer(model))
        pushed += [
            Pushed(row.id, quote.prices, quote.valid_from, quote.valid_until, 1)
            for quote in quotes_of(model, now, zone)
        ]
    await push_quotes(market, pushed)
    return len(models)


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
