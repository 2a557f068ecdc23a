"""The book as columns: NumPy arrays, one row an offer, from which a decision is computed without touching an object.

A column that is the same in every row collapses to a plain int: broadcasting does the rest, and faster.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lowtide.market.offer import CIRCUIT_OPEN, FEATURES, MODALITIES, Conditions, Offer
from lowtide.market.quote import Prices, Quote, effective_quote
from lowtide.market.task import DEFAULT_OUTPUT_TOKENS
from lowtide.market.usage import flat_prices

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
IntColumn = Ints | int

MODALITY_BIT = {name: 1 << index for index, name in enumerate(MODALITIES)}
FEATURE_BIT = {name: 1 << (len(MODALITIES) + index) for index, name in enumerate(FEATURES)}
ZERO_RETENTION_BIT = 1 << (len(MODALITIES) + len(FEATURES))
MODALITY_BITS = sum(MODALITY_BIT.values())
FEATURE_BITS = sum(FEATURE_BIT.values())

WITHDRAWN, NO_QUOTE, QUARANTINED, UNPRICED = 1, 2, 3, 4


@dataclass(frozen=True, slots=True)
class Columns:
    """What a row is and how it behaves, apart from its price. int64 unless said otherwise."""

    lacks: Ints
    """Inverted capability bits: a set bit is something the offer cannot do."""
    context_window: IntColumn
    max_output: IntColumn
    default_output: IntColumn
    token_ratio: IntColumn
    verbosity: IntColumn
    first_token_p50: Ints
    first_token_p95: Ints
    us_per_token: IntColumn
    completion_p99: Ints
    sick: Ints
    """1 − health, ppm."""
    circuit_open: Bools
    any_open: bool


@dataclass(frozen=True, slots=True)
class StepColumns:
    """One level of long-context prices: calls of these rows above `threshold` input tokens pay them (nano-USD/Mtok).

    The worst prices are the highest of the base and all levels up to this one.
    """

    rows: Ints
    threshold: Ints
    input: Ints
    output: Ints
    worst_input: Ints
    worst_output: Ints


Level = tuple[int, int, int, int, int]
"""Threshold, input, output, worst input, worst output of one row."""


@dataclass(frozen=True, slots=True)
class PriceColumns:
    """Effective prices over `[since, until)`, µs: nano-USD per million tokens and per request.

    `unready` holds the reasons 1–4 (withdrawn, no quote, quarantined, unpriced), 0 where a price stands.
    """

    since: int
    until: int | None
    input: Ints
    output: Ints
    worst_input: Ints
    per_request: IntColumn
    unready: NDArray[np.int8]
    any_unready: bool
    steps: tuple[StepColumns, ...]
    levels: Mapping[int, tuple[Level, ...]]


def collapsed(column: Ints) -> IntColumn:
    """The one value of a uniform column, else the column."""
    if len(column) and (column == column[0]).all():
        return int(column[0])
    return column


def full(column: IntColumn, length: int) -> Ints:
    """The column as an array, whatever its form."""
    return np.full(length, column, dtype=np.int64) if isinstance(column, int) else column


def columns_of(offers: Sequence[Offer], conditions: Sequence[Conditions]) -> Columns:
    """The columns of a whole book."""
    length = len(offers)

    def ints(values: Sequence[int]) -> Ints:
        return np.array(values, dtype=np.int64).reshape(length)

    circuit = np.array([c.circuit == CIRCUIT_OPEN for c in conditions], dtype=np.bool_).reshape(length)
    return Columns(
        lacks=ints([lacks_of(offer) for offer in offers]),
        context_window=collapsed(ints([o.context_window for o in offers])),
        max_output=collapsed(ints([o.max_output_tokens for o in offers])),
        default_output=collapsed(ints([min(o.max_output_tokens, DEFAULT_OUTPUT_TOKENS) for o in offers])),
        token_ratio=collapsed(ints([c.token_ratio_ppm for c in conditions])),
        verbosity=collapsed(ints([c.verbosity_ppm for c in conditions])),
        first_token_p50=ints([c.first_token_p50_ms for c in conditions]),
        first_token_p95=ints([c.first_token_p95_ms for c in conditions]),
        us_per_token=collapsed(ints([c.us_per_token for c in conditions])),
        completion_p99=ints([c.completion_p99_ms for c in conditions]),
        sick=ints([1_000_000 - c.health_ppm for c in conditions]),
        circuit_open=circuit,
        any_open=bool(circuit.any()),
    )


def lacks_of(offer: Offer) -> int:
    """The inverted capability bits of an offer."""
    has = sum(MODALITY_BIT.get(name, 0) for name in offer.modalities) + sum(
        FEATURE_BIT.get(f, 0) for f in offer.features
    )
    return ~(has | (ZERO_RETENTION_BIT if offer.zero_retention else 0))


def price_columns(
    offers: Sequence[Offer],
    quotes: Sequence[tuple[Quote, ...]],
    since: int,
    until: int | None,
    at: int,
    before: PriceColumns | None = None,
    changed: Sequence[int] | None = None,
) -> PriceColumns:
    """Effective prices at an instant. With `before`, only the rows in `changed` are looked at again."""
    length = len(offers)
    if before is None or len(before.input) > length:
        table = np.zeros((4, length), dtype=np.int64)
        unready = np.full(length, NO_QUOTE, dtype=np.int8)
        rows: Sequence[int] = range(length)
        levels: dict[int, tuple[Level, ...]] = {}
    else:
        old = len(before.input)
        table = np.zeros((4, length), dtype=np.int64)
        table[0, :old], table[1, :old], table[2, :old] = before.input, before.output, before.worst_input
        table[3, :old] = before.per_request
        unready = np.full(length, NO_QUOTE, dtype=np.int8)
        unready[:old] = before.unready
        rows = changed if changed is not None else range(length)
        levels = dict(before.levels)
    for row in rows:
        levels.pop(row, None)
        unready[row] = _set_row(table, row, offers[row], effective_quote(quotes[row], at), levels)
    return PriceColumns(
        since,
        until,
        table[0],
        table[1],
        table[2],
        collapsed(table[3]),
        unready,
        bool(unready.any()),
        _step_columns(levels),
        levels,
    )


def _set_row(
    table: Ints, row: int, offer: Offer, quote: Quote | None, levels: dict[int, tuple[Level, ...]]
) -> int:
    table[:, row] = 0
    if offer.withdrawn:
        return WITHDRAWN
    if quote is None:
        return NO_QUOTE
    if quote.quarantined:
        return QUARANTINED
    prices = quote.prices
    if prices.input is None or prices.output is None:
        return UNPRICED
    table[:, row] = (
        prices.input,
        prices.output,
        max(prices.input, prices.cache_write or 0),
        prices.per_request,
    )
    if prices.steps:
        levels[row] = tuple(_levels(prices))
    return 0


def _levels(prices: Prices) -> Iterator[Level]:
    base = flat_prices(prices, 0)
    worst_in, worst_out = max(base.input, base.cache_write), base.output
    for step in prices.steps:
        flat = flat_prices(prices, step.above_tokens + 1)
        worst_in, worst_out = max(worst_in, flat.input, flat.cache_write), max(worst_out, flat.output)
        yield step.above_tokens, flat.input, flat.output, worst_in, worst_out


def _step_columns(levels: Mapping[int, tuple[Level, ...]]) -> tuple[StepColumns, ...]:
    columns = []
    for level in range(max((len(steps) for steps in levels.values()), default=0)):
        rows = sorted(row for row, steps in levels.items() if len(steps) > level)
        table = np.array([levels[row][level] for row in rows], dtype=np.int64)
        columns.append(StepColumns(np.array(rows, dtype=np.int64), *(table[:, i] for i in range(5))))
    return tuple(columns)
