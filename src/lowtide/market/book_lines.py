"""The lines of the book: one canonical JSON line for an offer with its quotes, one for its conditions."""

from typing import Any

import orjson

from lowtide.market.offer import Capacity, Claim, Conditions, LatencyClaim, Offer
from lowtide.market.quote import Prices, PriceStep, Quote
from lowtide.values.canonical import canonical

ROW, CONDITIONS = "row", "conditions"
KINDS = (CONDITIONS, ROW)
"""In the order in which a version's digest takes them."""


def row_line(row: int, offer: Offer, quotes: tuple[Quote, ...]) -> bytes:
    """The line of an offer with its quotes as UTC intervals."""
    return canonical(
        {
            "row": row,
            **offer_values(offer),
            "quotes": [_quote_values(quote) for quote in quotes],
        }
    )


def _quote_values(quote: Quote) -> list[Any]:
    """A quote as a list; capacity and firmness come last, and only where it has them, so that older lines stay."""
    values: list[Any] = [
        quote.valid_from,
        quote.valid_until,
        quote.sequence,
        prices_values(quote.prices),
        int(quote.quarantined),
    ]
    if quote.capacity is None and quote.firm_until is None:
        return values
    places = None if quote.capacity is None else capacity_values(quote.capacity)
    return [*values, places, quote.firm_until]


def _quote(
    start: int,
    end: int | None,
    sequence: int,
    prices: dict[str, Any],
    quarantined: int,
    places: list[int | None] | None = None,
    firm_until: int | None = None,
) -> Quote:
    return Quote(
        prices_from_values(prices),
        start,
        end,
        sequence,
        bool(quarantined),
        None if places is None else Capacity(*places),
        firm_until,
    )


def parse_row_line(line: bytes) -> tuple[int, Offer, tuple[Quote, ...]]:
    """Row number, offer and quotes of a line."""
    values = orjson.loads(line)
    quotes = tuple(_quote(*one) for one in values["quotes"])
    return values["row"], offer_from_values(values), quotes


def conditions_line(row: int, conditions: Conditions) -> bytes:
    """The line of an offer's conditions."""
    return canonical(
        {
            "row": row,
            "health": conditions.health_ppm,
            "circuit": conditions.circuit,
            "p50": conditions.first_token_p50_ms,
            "p95": conditions.first_token_p95_ms,
            "us_per_token": conditions.us_per_token,
            "p99": conditions.completion_p99_ms,
            "token_ratio": conditions.token_ratio_ppm,
            "verbosity": conditions.verbosity_ppm,
            "answers": conditions.answers,
            "quality": [list(entry) for entry in conditions.quality],
            "price_max": None if conditions.price_max is None else list(conditions.price_max),
        }
    )


def parse_conditions_line(line: bytes) -> tuple[int, Conditions]:
    """Row number and conditions of a line."""
    v = orjson.loads(line)
    return v["row"], Conditions(
        v["health"],
        v["circuit"],
        v["p50"],
        v["p95"],
        v["us_per_token"],
        v["p99"],
        v["token_ratio"],
        v["verbosity"],
        v["answers"],
        tuple((domain, mean, weight) for domain, mean, weight in v["quality"]),
        None if v["price_max"] is None else (v["price_max"][0], v["price_max"][1], v["price_max"][2]),
    )


def offer_values(offer: Offer) -> dict[str, Any]:
    """The JSON form of a listing: integers and strings."""
    return {
        "id": offer.id,
        "provider": offer.provider,
        "model": offer.model,
        "upstream_model": offer.upstream_model,
        "lane": offer.lane,
        "variant": offer.variant,
        "settles": int(offer.settles),
        "modalities": list(offer.modalities),
        "domains": list(offer.domains),
        "features": list(offer.features),
        "context_window": offer.context_window,
        "max_output_tokens": offer.max_output_tokens,
        "regions": list(offer.regions),
        "zero_retention": int(offer.zero_retention),
        "capacity": capacity_values(offer.capacity),
        "latency": [offer.latency.p50_ms, offer.latency.p95_ms, offer.latency.tokens_per_second],
        "claims": [[claim.domain, claim.quality_ppm, claim.sample_size] for claim in offer.claims],
        "price_source": offer.price_source,
        "withdrawn": int(offer.withdrawn),
    }


def offer_from_values(v: dict[str, Any]) -> Offer:
    """The listing of its JSON form."""
    return Offer(
        v["id"],
        v["provider"],
        v["model"],
        v["upstream_model"],
        v["lane"],
        v["variant"],
        bool(v["settles"]),
        tuple(v["modalities"]),
        tuple(v["domains"]),
        tuple(v["features"]),
        v["context_window"],
        v["max_output_tokens"],
        tuple(v["regions"]),
        bool(v["zero_retention"]),
        Capacity(*v["capacity"]),
        LatencyClaim(*v["latency"]),
        tuple(Claim(*claim) for claim in v["claims"]),
        v["price_source"],
        bool(v["withdrawn"]),
    )


def capacity_values(capacity: Capacity) -> list[int | None]:
    """Concurrency, requests and tokens a minute; None is unlimited."""
    return [capacity.concurrency, capacity.requests_per_minute, capacity.tokens_per_minute]


def prices_values(prices: Prices) -> dict[str, Any]:
    """The JSON form of unit prices, what is unknown left out."""
    values: dict[str, Any] = _known(
        {
            "in": prices.input,
            "out": prices.output,
            "cached": prices.cached_input,
            "write": prices.cache_write,
            "request": prices.per_request or None,
        }
    )
    if prices.steps:
        values["steps"] = [
            _known(
                {
                    "above": s.above_tokens,
                    "in": s.input,
                    "out": s.output,
                    "cached": s.cached_input,
                    "write": s.cache_write,
                }
            )
            for s in prices.steps
        ]
    return values


def prices_from_values(v: dict[str, Any]) -> Prices:
    """The unit prices of their JSON form."""
    steps = tuple(
        PriceStep(s["above"], s.get("in"), s.get("out"), s.get("cached"), s.get("write"))
        for s in v.get("steps", ())
    )
    return Prices(v.get("in"), v.get("out"), v.get("cached"), v.get("write"), v.get("request", 0), steps)


def _known(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
