"""Stocking: the providers of config/ whose key is set, with their catalog prices, brought into the book and kept there."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.exchange.award import dumped
from lowtide.exchange.feed_health import after_reading
from lowtide.exchange.listings import keep, withdraw
from lowtide.exchange.market import Market
from lowtide.exchange.seal import HORIZON_US, Touched
from lowtide.feeds.catalog import catalog_listings
from lowtide.feeds.listing import Listing
from lowtide.feeds.model_names import ModelNames
from lowtide.feeds.providers import (
    ModelConfig,
    ProviderConfig,
    address,
    credentials,
    discounted,
    live,
    load_providers,
)
from lowtide.market.quote import Quote
from lowtide.market.tariff import expand
from lowtide.store import offers as stored_offers
from lowtide.store import providers as stored_providers
from lowtide.store.tables import Feed, Provider
from lowtide.values.ids import new_id
from lowtide.values.instants import DAY_US

CATALOG = "catalog"


def listings(config: ProviderConfig, now: int, names: ModelNames) -> list[Listing]:
    """What a provider's file offers over the horizon from `now` (µs): its catalog's models, and those listed by hand."""
    found: list[Listing] = []
    if config.catalog is not None:
        found += [
            replace(
                item,
                provider=config.name,
                quotes=_less(item.quotes, config.discount_ppm),
            )
            for item in catalog_listings(
                config.catalog,
                now,
                now + HORIZON_US,
                0,
                lanes=config.lanes,
                include=config.include,
                exclude=config.exclude,
                model_prefix=config.model_prefix,
                strip_prefix=config.strip_prefix,
                names=names,
                features=config.features,
                lane_rules=config.lane_rules,
                tariff=config.tariff,
            )
            if item.priced
        ]
    found += [
        Listing(
            provider=config.name,
            model=model.model,
            upstream_model=model.upstream_model,
            lane=model.lane,
            quotes=_quotes(model, config, now),
            context_window=model.context_window,
            max_output_tokens=model.max_output_tokens,
            modalities=model.modalities,
            features=model.features or config.features,
        )
        for model in config.models
    ]
    told = [
        replace(
            item,
            regions=config.regions,
            zero_retention=config.zero_retention,
            max_output_tokens=item.max_output_tokens or config.max_output_tokens,
        )
        for item in found
    ]
    return list({item.key: item for item in told}.values())


def _quotes(model: ModelConfig, config: ProviderConfig, now: int) -> tuple[Quote, ...]:
    """A hand-listed model's quotes: its price, or on the standard lane what the tariff makes of it."""
    listed: tuple[Quote, ...] = (Quote(model.prices, now, None, 0),)
    if config.tariff is not None and model.lane == "standard":
        listed = expand(config.tariff, model.prices, now, now + HORIZON_US, 0)
    return _less(listed, config.discount_ppm)


def _less(quotes: tuple[Quote, ...], discount_ppm: int) -> tuple[Quote, ...]:
    return tuple(replace(quote, prices=discounted(quote.prices, discount_ppm)) for quote in quotes)


class Stock:
    """Keeps the book in step with config/providers/ and the environment."""

    def __init__(self, market: Market, config: Path) -> None:
        self._market = market
        self._configs = load_providers(config / "providers")

    async def refresh(self) -> None:
        """Bring in what is live, withdraw what is not, and send prices that have changed: one book version."""
        market, now = self._market, self._market.now()
        env = market.credentials
        wanted = [
            (config, listings(config, now, self._market.model_names))
            for config in self._configs
            if live(config, env)
        ]

        async def change(conn: AsyncConnection, touched: Touched) -> None:
            known = await stored_providers.list_providers(conn, limit=None)
            names = {config.name for config, _ in wanted}
            for config, listed in wanted:
                feed = await self._ensure_provider(conn, config, known, now)
                kept = await keep(
                    conn, touched, feed, listed, now, reach_us=HORIZON_US - DAY_US, trusted=True
                )
                health = dumped(after_reading({}, kept, now))
                await stored_providers.update_health(conn, feed.id, health, None)
            for gone in known:
                if gone.source == "config" and gone.name not in names:
                    await withdraw(
                        conn,
                        await stored_offers.list_offers(conn, provider_id=gone.id, limit=None),
                        now,
                        touched,
                    )

        if wanted or market.keeper.book.rows:
            await market.keeper.publish(change)

    async def _ensure_provider(
        self, conn: AsyncConnection, config: ProviderConfig, known: Iterable[Provider], now: int
    ) -> Feed:
        env = self._market.credentials
        values: dict[str, Any] = {
            "name": config.name,
            "wire": config.wire,
            "base_url": address(config, env),
            "credential_env": ",".join(credentials(config, env)),
            "discount_ppm": config.discount_ppm,
            "max_tokens_field": config.max_tokens_field,
            "batch_wire": config.batch_wire,
            "source": "config",
        }
        row = next((provider for provider in known if provider.name == config.name), None)
        if row is None:
            row = Provider(id=new_id("prov", now), created_at=now, **values)
            await stored_providers.add_provider(conn, row.model_dump())
        else:
            await stored_providers.update_provider(conn, row.id, values)
        feeds = await stored_providers.list_feeds(conn, row.id, limit=None)
        feed = next((one for one in feeds if one.kind == CATALOG), None)
        if feed is None:
            feed = Feed(
                id=new_id("feed", now),
                provider_id=row.id,
                kind=CATALOG,
                created_at=now,
                spec=dumped({"catalog": config.catalog, "lanes": list(config.lanes)}),
                health="{}",
            )
            await stored_providers.add_feed(conn, feed.model_dump())
        return feed
