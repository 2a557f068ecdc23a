"""What the market shows of sellers, accounts and the book: rows of the store as the contract's JSON."""

from typing import Any

import orjson

from lowtide.exchange.quotes import Taken
from lowtide.exchange.seal import stored_quote
from lowtide.market.book import Book, Row, quality_in
from lowtide.market.book_lines import offer_from_values, prices_from_values
from lowtide.market.offer import Capacity, Offer
from lowtide.market.quote import Prices, Quote, effective_quote
from lowtide.store.tables import Account, ApiKey, OfferRow, Provider, QuoteRow
from lowtide.values.instants import rfc3339
from lowtide.values.money import usd


def money(amount_nano: int | None) -> str | None:
    """USD, or null."""
    return None if amount_nano is None else usd(amount_nano)


def when(us: int | None) -> str | None:
    """RFC 3339, or null."""
    return None if us is None else rfc3339(us)


def ratio(parts: int | None) -> float | None:
    """A ratio of parts per million."""
    return None if parts is None else parts / 1_000_000


def account(row: Account) -> dict[str, Any]:
    """An account with what it may still commit (null: without limit)."""
    limit = row.credit_limit_nano
    left = None if limit is None else row.deposited_nano + limit - row.authorized_nano - row.spent_nano
    return {
        "id": row.id,
        "name": row.name,
        "credit_limit_usd": money(limit),
        "deposited_usd": usd(row.deposited_nano),
        "available_usd": money(left),
        "authorized_usd": usd(row.authorized_nano),
        "spent_usd": usd(row.spent_nano),
        "created_at": when(row.created_at),
    }


def key(row: ApiKey, secret: str | None = None) -> dict[str, Any]:
    """A key; the secret only in the answer that made it."""
    shown = {
        "id": row.id,
        "name": row.name,
        "role": row.role,
        "account_id": row.account_id,
        "provider_id": row.provider_id,
        "shown": row.shown,
        "expires_at": when(row.expires_at),
        "revoked_at": when(row.revoked_at),
        "created_at": when(row.created_at),
    }
    for name in ("allow_models", "allow_providers", "allow_regions"):
        value = getattr(row, name)
        shown[name] = None if value is None else orjson.loads(value)
    return shown if secret is None else shown | {"key": secret}


def provider(row: Provider) -> dict[str, Any]:
    """A provider; credentials are named, never shown."""
    return {
        "id": row.id,
        "name": row.name,
        "wire": row.wire,
        "base_url": row.base_url,
        "credential_env": [name for name in row.credential_env.split(",") if name],
        "discount": ratio(row.discount_ppm),
        "max_tokens_field": row.max_tokens_field,
        "batch_wire": row.batch_wire,
        "source": row.source,
        "simulated": row.simulated,
        "created_at": when(row.created_at),
    }


def offer_fields(offer: Offer) -> dict[str, Any]:
    """A listing's fields as they were posted."""
    latency = offer.latency
    return {
        "model": offer.model,
        "upstream_model": offer.upstream_model,
        "lane": offer.lane,
        "variant": offer.variant,
        "settles": offer.settles,
        "modalities": list(offer.modalities),
        "domains": list(offer.domains),
        "context_window": offer.context_window,
        "max_output_tokens": offer.max_output_tokens,
        "features": list(offer.features),
        "regions": list(offer.regions),
        "zero_retention": offer.zero_retention,
        "capacity": capacity(offer.capacity),
        "latency": {
            "p50_ms": latency.p50_ms,
            "p95_ms": latency.p95_ms,
            "tokens_per_second": latency.tokens_per_second,
        },
        "quality_claims": [
            {"domain": c.domain, "quality": ratio(c.quality_ppm), "sample_size": c.sample_size}
            for c in offer.claims
        ],
    }


def offer(row: OfferRow, book: Book) -> dict[str, Any]:
    """An offer with its quotes as the book has them."""
    listing = offer_from_values(orjson.loads(row.body) | {"id": row.id})
    number = book.row_of.get(row.id)
    quotes = book.rows[number].quotes if number is not None else ()
    return {
        "id": row.id,
        "provider_id": row.provider_id,
        "provider": listing.provider,
        **offer_fields(listing),
        "price_source": row.price_source,
        "withdrawn_at": when(row.withdrawn_at),
        "created_at": when(row.created_at),
        "quotes": [quote(one) for one in quotes],
        "book_version": book.version,
    }


def prices(found: Prices | None) -> dict[str, Any] | None:
    """Unit prices in USD; null where unknown."""
    if found is None:
        return None
    shown: dict[str, Any] = {
        "input_per_mtok": money(found.input),
        "output_per_mtok": money(found.output),
        "cached_input_per_mtok": money(found.cached_input),
        "cache_write_per_mtok": money(found.cache_write),
        "per_request": usd(found.per_request),
    }
    if found.steps:
        shown["steps"] = [
            {
                "above_tokens": s.above_tokens,
                "input_per_mtok": money(s.input),
                "output_per_mtok": money(s.output),
                "cached_input_per_mtok": money(s.cached_input),
                "cache_write_per_mtok": money(s.cache_write),
            }
            for s in found.steps
        ]
    return shown


def prices_of_text(text: str) -> dict[str, Any] | None:
    """Unit prices of their stored form."""
    return prices(prices_from_values(orjson.loads(text)))


def capacity(found: Capacity) -> dict[str, Any]:
    """Stated limits; null is unlimited."""
    return {
        "concurrency": found.concurrency,
        "requests_per_minute": found.requests_per_minute,
        "tokens_per_minute": found.tokens_per_minute,
    }


def quote(found: Quote) -> dict[str, Any]:
    """A quote over its interval."""
    return {
        "prices": prices(found.prices),
        "valid_from": when(found.valid_from),
        "valid_until": when(found.valid_until),
        "sequence": found.sequence,
        "quarantined": found.quarantined,
        "capacity": None if found.capacity is None else capacity(found.capacity),
        "firm_until": when(found.firm_until),
    }


def taken(one: Taken) -> dict[str, Any]:
    """A quote as it was just taken."""
    return {
        "id": one.id,
        "offer_id": one.offer_id,
        **quote(one.quote),
        "held_back": one.held_back,
        "warning": unpriced(one.quote.prices),
    }


def unpriced(found: Prices) -> str | None:
    """Why nothing can be bought at such prices, and what to do; None where there is nothing amiss."""
    given = (("input_per_mtok", found.input), ("output_per_mtok", found.output))
    lacking = " and ".join(name for name, price in given if price is None)
    if not lacking:
        return None
    return (
        f"The offer cannot win while this quote counts: it lacks {lacking}, and a price that is not given is unknown, "
        'never free. Push it again with both prices; send "0" for what costs nothing.'
    )


def kept_quote(row: QuoteRow) -> dict[str, Any]:
    """A quote as it is kept: where it came from, when, and what it was made from."""
    return {
        "id": row.id,
        "offer_id": row.offer_id,
        **quote(stored_quote(row)),
        "source": row.source,
        "taken_at": when(row.taken_at),
        "raw_sha256": row.raw_hash,
    }


def ask(row: Row, at: int) -> dict[str, Any]:
    """What a row of the book costs at an instant (µs), until when, and what is known of it."""
    found = effective_quote(row.quotes, at)
    mean, weight = quality_in(row.conditions, "general")
    later = min((q.valid_from for q in row.quotes if q.valid_from > at), default=None)
    until = None if found is None else found.valid_until
    return {
        "offer_id": row.offer.id,
        "provider": row.offer.provider,
        "model": row.offer.model,
        "lane": row.offer.lane,
        "prices": prices(None if found is None else found.prices),
        "quarantined": found is not None and found.quarantined,
        "capacity": None if found is None or found.capacity is None else capacity(found.capacity),
        "firm_until": when(None if found is None else found.firm_until),
        "valid_from": when(None if found is None else found.valid_from),
        "valid_until": when(min((edge for edge in (until, later) if edge is not None), default=None)),
        "next": [quote(q) for q in row.quotes if q.valid_from > at][:8],
        "quality": {"verified": ratio(mean), "samples": weight / 1_000},
        "health": ratio(row.conditions.health_ppm),
        "circuit": row.conditions.circuit,
        "latency_ms": {
            "p50": row.conditions.first_token_p50_ms,
            "p95": row.conditions.first_token_p95_ms,
        },
    }
