"""The catalog feed: genai-prices' offline snapshot, with its dated and time-of-day prices, as listings.

The package is imported inside the functions: it takes a third of a second.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING, Any

from lowtide.feeds.lane_rules import LaneRule, matches, quotes_by_rule
from lowtide.feeds.listing import DEFAULT_CONTEXT_WINDOW, Listing
from lowtide.feeds.model_names import ModelNames
from lowtide.market.dearest import dearest
from lowtide.market.quote import Prices, PriceStep, Quote
from lowtide.market.tariff import Tariff, expand
from lowtide.values.canonical import sha256
from lowtide.values.errors import SetupError
from lowtide.values.instants import DAY_US, instant, micros
from lowtide.values.money import MAX_UNIT_PRICE_NANO, NANO

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, Provider

LANE_CONTEXTS: Mapping[str, Mapping[str, str]] = {
    "standard": {},
    "batch": {"processing": "batch"},
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
    "spot": {"service_tier": "spot"},
}
"""The price context by which the catalog knows a lane; of "spot" it has no prices yet, only lane rules do."""
_ANY_DAY = date(2000, 1, 1)
_FIELDS = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cached_input": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
}


def catalog_providers() -> tuple[str, ...]:
    """The ids of the providers that the catalog knows."""
    from genai_prices.data_snapshot import get_snapshot

    return tuple(provider.id for provider in get_snapshot().providers)


def catalog_listings(
    catalog_id: str,
    start_us: int,
    end_us: int,
    sequence: int,
    *,
    lanes: Sequence[str] = ("standard",),
    include: Sequence[str] = ("*",),
    exclude: Sequence[str] = (),
    model_prefix: str = "",
    strip_prefix: str = "",
    names: ModelNames | None = None,
    features: tuple[str, ...] = (),
    lane_rules: Sequence[LaneRule] = (),
    tariff: Tariff | None = None,
) -> list[Listing]:
    """Every model of a provider on each lane that is priced within `[start_us, end_us)`, µs UTC.

    `include` and `exclude` are patterns of the catalog's model ids; upstream `strip_prefix` is taken off the id and
    `model_prefix` put before it. A lane that the catalog does not price has the price of `lane_rules`. A `tariff`
    stands in place of the catalog's hours of the day, for the standard lane.

    Raises SetupError for a provider or lane that the catalog does not know.
    """
    unknown = [lane for lane in lanes if lane not in LANE_CONTEXTS]
    if unknown:
        known = ", ".join(LANE_CONTEXTS)
        raise SetupError(f"The catalog has no prices for lane {unknown[0]!r}. It knows {known}.")
    naming = names or ModelNames()
    found: list[Listing] = []
    for model in _provider(catalog_id).models:
        if not matches(model.id, include) or matches(model.id, exclude):
            continue
        market_name = naming.market_name(model.id)
        standard = lane_quotes(model, {}, start_us, end_us, sequence)
        raw = sha256(repr((model.id, model.prices)).encode()).hex()
        for lane, context in _lanes_of(model, lanes):
            if context:
                quotes = lane_quotes(model, context, start_us, end_us, sequence)
                quotes = quotes or quotes_by_rule(lane_rules, lane, model.id, standard)
            elif tariff is not None and lane == "standard":
                quotes = tariff_quotes(model, tariff, start_us, end_us, sequence)
            else:
                quotes = standard
            if quotes:
                found.append(
                    Listing(
                        provider=catalog_id,
                        model=market_name,
                        upstream_model=model_prefix + model.id.removeprefix(strip_prefix),
                        lane=lane,
                        quotes=quotes,
                        context_window=model.context_window or DEFAULT_CONTEXT_WINDOW,
                        modalities=naming.modalities(market_name),
                        features=features,
                        raw=raw,
                    )
                )
    return found


def lane_quotes(
    model: ModelInfo, context: Mapping[str, str], start_us: int, end_us: int, sequence: int
) -> tuple[Quote, ...]:
    """The quotes of a model in a price context over `[start_us, end_us)`: none while the lane is not offered.

    The catalog itself falls back on the standard price there without a word, which would be a false discount
    lane.
    """
    edges = sorted(
        {start_us} | {edge for edge in _edges(model, start_us, end_us) if start_us < edge < end_us}
    )
    quotes: list[Quote] = []
    for begin, end in zip(edges, [*edges[1:], end_us], strict=True):
        at = instant(begin)
        prices = _prices(model.get_prices(at, context)) if _offered(model, context, at) else None
        if prices is None:
            continue
        if quotes and quotes[-1].valid_until == begin and quotes[-1].prices == prices:
            begin = quotes.pop().valid_from
        quotes.append(Quote(prices, begin, end, sequence))
    if quotes and quotes[-1].valid_until == end_us and not _changes_after(model, end_us):
        quotes.append(Quote(quotes[-1].prices, quotes.pop().valid_from, None, sequence))
    return tuple(quotes)


def tariff_quotes(
    model: ModelInfo, tariff: Tariff, start_us: int, end_us: int, sequence: int
) -> tuple[Quote, ...]:
    """The quotes of a model whose seller's tariff stands in place of the catalog's hours.

    The tariff's base is the dearest price that the catalog has on a day: its own hours would else count twice.
    """
    edges = sorted({start_us, *(at for at in _dates(model) if start_us < at < end_us)})
    quotes: list[Quote] = []
    for begin, end in zip(edges, [*edges[1:], end_us], strict=True):
        midnight = begin - begin % DAY_US
        of_day = [_prices(model.get_prices(instant(midnight + clock), {})) for clock in {0, *_clocks(model)}]
        known = [prices for prices in of_day if prices is not None]
        if len(known) == len(of_day):
            quotes += expand(tariff, dearest(known), begin, end, sequence)
    return tuple(quotes)


def _provider(catalog_id: str) -> Provider:
    from genai_prices.data_snapshot import get_snapshot

    for provider in get_snapshot().providers:
        if provider.id == catalog_id:
            return provider
    known = ", ".join(catalog_providers())
    raise SetupError(
        f"The catalog has no provider {catalog_id!r}. Set catalog to one of {known}, "
        "or leave it out and list the models with prices."
    )


def _lanes_of(model: ModelInfo, lanes: Sequence[str]) -> Iterator[tuple[str, Mapping[str, str]]]:
    """The lanes asked for, with their contexts; one that ends in ":batch" is that lane only."""
    if model.id.endswith(":batch"):
        if "batch" in lanes:
            yield "batch", LANE_CONTEXTS["standard"]
        return
    for lane in lanes:
        yield lane, LANE_CONTEXTS[lane]


def _offered(model: ModelInfo, context: Mapping[str, str], at: datetime) -> bool:
    """Whether the catalog has a price for that context then, not only the standard one in its place."""
    return not context or any(
        variant.when.items() <= context.items()
        and bool(vars(variant.prices))
        and (variant.constraint is None or variant.constraint.active(at))
        for variant in model.price_variants or ()
    )


def _constraints(model: ModelInfo) -> Iterator[Any]:
    if isinstance(model.prices, list):
        yield from (entry.constraint for entry in model.prices if entry.constraint is not None)
    yield from (entry.constraint for entry in model.price_variants or () if entry.constraint is not None)


def _dates(model: ModelInfo) -> list[int]:
    """The UTC midnights at which a dated price of the model begins, µs."""
    from genai_prices.types import StartDateConstraint

    return [
        micros(datetime.combine(constraint.start_date, time(), UTC))
        for constraint in _constraints(model)
        if isinstance(constraint, StartDateConstraint)
    ]


def _clocks(model: ModelInfo) -> set[int]:
    """The times of a UTC day at which a price of the model begins or ends, µs after midnight."""
    from genai_prices.types import StartDateConstraint

    return {
        micros(datetime.combine(_ANY_DAY, clock if clock.tzinfo is not None else clock.replace(tzinfo=UTC)))
        % DAY_US
        for constraint in _constraints(model)
        if not isinstance(constraint, StartDateConstraint)
        for clock in (constraint.start_time, constraint.end_time)
    }


def _edges(model: ModelInfo, start_us: int, end_us: int) -> Iterator[int]:
    """Every instant in reach at which one of the model's constraints may switch."""
    yield from _dates(model)
    midnight = start_us - start_us % DAY_US
    for clock in _clocks(model):
        yield from range(midnight + clock, end_us, DAY_US)


def _changes_after(model: ModelInfo, end_us: int) -> bool:
    return bool(_clocks(model)) or any(at >= end_us for at in _dates(model))


def _prices(price: ModelPrice) -> Prices | None:
    """The catalog's prices in ours; None where one is beyond what the market trades."""
    from genai_prices.types import TieredPrices

    base: dict[str, int | None] = {}
    steps: dict[int, dict[str, int]] = {}
    for ours, theirs in _FIELDS.items():
        value = getattr(price, theirs)
        if isinstance(value, TieredPrices):
            base[ours] = _nano_up(value.base)
            for tier in value.tiers:
                steps.setdefault(tier.start, {})[ours] = _nano_up(tier.price)
        else:
            base[ours] = None if value is None else _nano_up(value)
    requests = price.requests_kcount
    per_request = _nano_up(requests / 1000) if isinstance(requests, Decimal) else 0
    amounts = [*base.values(), *(amount for step in steps.values() for amount in step.values()), per_request]
    if any(amount is not None and amount > MAX_UNIT_PRICE_NANO for amount in amounts):
        return None
    return Prices(
        input=base["input"],
        output=base["output"],
        cached_input=base["cached_input"],
        cache_write=base["cache_write"],
        per_request=per_request,
        steps=tuple(
            PriceStep(
                above_tokens=above,
                input=changed.get("input"),
                output=changed.get("output"),
                cached_input=changed.get("cached_input"),
                cache_write=changed.get("cache_write"),
            )
            for above, changed in sorted(steps.items())
        ),
    )


def _nano_up(usd: Decimal) -> int:
    """Nano-USD, rounded up where the catalog is finer."""
    return int((usd * NANO).to_integral_value(ROUND_CEILING))
