"""Stocking: the providers of config/ whose key is set, with their catalog prices, brought into the book and kept there."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.exchange.award import dumped
from lowtide.exchange.market import Market
from lowtide.exchange.seal import HORIZON_US, Touched, quote_values, stored_quote
from lowtide.feeds.catalog import catalog_listings
from lowtide.feeds.model_names import ModelNames, load_model_names
from lowtide.feeds.providers import ProviderConfig, address, credentials, discounted, live, load_providers
from lowtide.market.book_lines import offer_values
from lowtide.market.offer import Offer
from lowtide.market.quote import Quote, boundaries, effective_quote
from lowtide.store import capacity
from lowtide.store import offers as stored_offers
from lowtide.store import providers as stored_providers
from lowtide.store.tables import Feed, OfferRow, Provider
from lowtide.values.canonical import canonical
from lowtide.values.ids import new_id
from lowtide.values.instants import DAY_US, HOUR_US

REFRESH_US = HOUR_US
CATALOG = "catalog"


@dataclass(frozen=True, slots=True)
class Listed:
    """An offer of a provider's file with its quotes; sequences are given when they are stored."""

    offer: Offer
    quotes: tuple[Quote, ...]


def listings(config: ProviderConfig, now: int, names: ModelNames) -> list[Listed]:
    """What a provider's file offers over the horizon from `now` (µs): its catalog's models, and those listed by hand."""
    found: list[Listed] = []
    if config.catalog is not None:
        for item in catalog_listings(
            config.catalog,
            now,
            now + HORIZON_US,
            0,
            lanes=config.lanes,
            include=config.include,
            exclude=config.exclude,
            model_prefix=config.model_prefix,
            names=names,
            features=config.features,
        ):
            if item.priced:
                offer = _offer(
                    config,
                    item.model,
                    item.upstream_model,
                    item.lane,
                    item.modalities,
                    item.features,
                    item.context_window,
                    item.max_output_tokens or config.max_output_tokens,
                )
                found.append(
                    Listed(
                        offer,
                        tuple(
                            replace(q, prices=discounted(q.prices, config.discount_ppm)) for q in item.quotes
                        ),
                    )
                )
    for model in config.models:
        offer = _offer(
            config,
            model.model,
            model.upstream_model,
            model.lane,
            model.modalities,
            model.features or config.features,
            model.context_window,
            model.max_output_tokens,
        )
        prices = discounted(model.prices, config.discount_ppm)
        found.append(Listed(offer, (Quote(prices, now, None, 0),)))
    return list({listed.offer.key: listed for listed in found}.values())


def _offer(
    config: ProviderConfig,
    model: str,
    upstream: str,
    lane: str,
    modalities: tuple[str, ...],
    features: tuple[str, ...],
    context: int,
    limit: int,
) -> Offer:
    return Offer(
        "",
        config.name,
        model,
        upstream,
        lane,
        modalities=modalities,
        features=features,
        context_window=context,
        max_output_tokens=min(limit, context),
        regions=config.regions,
        zero_retention=config.zero_retention,
    )


class Stock:
    """Keeps the book in step with config/providers/ and the environment."""

    def __init__(self, market: Market, config: Path) -> None:
        self._market = market
        self._configs = load_providers(config / "providers")
        self._names = load_model_names(config / "models.toml")

    async def refresh(self) -> None:
        """Bring in what is live, withdraw what is not, and send prices that have changed: one book version."""
        market, now = self._market, self._market.now()
        env = market.credentials
        wanted = [
            (config, listings(config, now, self._names)) for config in self._configs if live(config, env)
        ]

        async def change(conn: AsyncConnection, touched: Touched) -> None:
            known = await stored_providers.list_providers(conn, limit=None)
            names = {config.name for config, _ in wanted}
            for config, listed in wanted:
                feed = await self._ensure_provider(conn, config, known, now)
                await _keep(conn, feed, listed, now, touched)
            for gone in known:
                if gone.source == "config" and gone.name not in names:
                    await _withdraw(
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


async def _keep(
    conn: AsyncConnection, feed: Feed, listed: Sequence[Listed], now: int, touched: Touched
) -> None:
    """See that every listing stands as offered, with its prices; withdraw the provider's others from this feed."""
    before = {
        (row.upstream_model, row.lane, row.variant): row
        for row in await stored_offers.list_offers(conn, provider_id=feed.provider_id, limit=None)
    }
    priced: dict[str, list[Quote]] = {}
    for quote in await stored_offers.quotes_alive(conn, [row.id for row in before.values()], feed.id, now):
        priced.setdefault(quote.offer_id, []).append(stored_quote(quote))
    fresh: list[dict[str, object]] = []
    number = await stored_offers.next_row(conn)
    for item in listed:
        row = before.pop((item.offer.upstream_model, item.offer.lane, item.offer.variant), None)
        body = canonical(offer_values(item.offer)).decode()
        if row is None:
            row = OfferRow(
                id=new_id("off", now),
                row=number,
                provider_id=feed.provider_id,
                model=item.offer.model,
                upstream_model=item.offer.upstream_model,
                lane=item.offer.lane,
                variant=item.offer.variant,
                body=body,
                price_source=feed.id,
                created_at=now,
            )
            number += 1
            await stored_offers.add_offer(conn, row.model_dump())
            await capacity.ensure(conn, row.id, item.offer.capacity)
            touched.offers.add(row.id)
        elif row.withdrawn_at is not None or row.body != body:
            await stored_offers.relist(conn, row.id, body)
            touched.offers.add(row.id)
        if row.price_source == feed.id and not _same_prices(priced.get(row.id, []), item.quotes, now):
            sequence = max((q.sequence for q in priced.get(row.id, [])), default=0) + 1
            fresh += [_quote_row(row.id, feed.id, quote, sequence, now) for quote in item.quotes]
            touched.offers.add(row.id)
    await stored_offers.add_quotes(conn, fresh)
    await _withdraw(conn, [row for row in before.values() if row.price_source == feed.id], now, touched)
    health = {
        "last_success": now,
        "offers": len(listed),
        "quotes_accepted": len(fresh),
        "quotes_refused": 0,
        "errors": [],
    }
    await stored_providers.update_health(conn, feed.id, dumped(health), now + REFRESH_US)


async def _withdraw(conn: AsyncConnection, rows: Iterable[OfferRow], now: int, touched: Touched) -> None:
    for row in rows:
        if row.withdrawn_at is None and await stored_offers.withdraw(conn, row.id, now):
            touched.offers.add(row.id)


def _same_prices(old: Sequence[Quote], new: Sequence[Quote], now: int) -> bool:
    """Whether the stored quotes give the same prices from now on, and reach nearly as far."""
    ends = [quote.valid_until for quote in old]
    if not old or (None not in ends and max(end or 0 for end in ends) < now + HORIZON_US - DAY_US):
        return False
    reach = now + HORIZON_US - DAY_US
    for at in {now} | {edge for edge in boundaries(old) | boundaries(new) if now < edge < reach}:
        left, right = effective_quote(old, at), effective_quote(new, at)
        if (None if left is None else left.prices) != (None if right is None else right.prices):
            return False
    return True


def _quote_row(offer_id: str, source: str, quote: Quote, sequence: int, now: int) -> dict[str, object]:
    return {
        "id": new_id("quo", now),
        "offer_id": offer_id,
        "source": source,
        "taken_at": now,
        **quote_values(replace(quote, sequence=sequence)),
    }
