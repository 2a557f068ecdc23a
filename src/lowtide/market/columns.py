"""The book as columns: NumPy arrays, one row an offer, from which a decision is computed without touching an object.

A column that is the same in every row collapses to a plain int: broadcasting does the rest, and faster.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lowtide.market.kept import grown
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
    """What a row is and how it behaves, apart from its price. int64 unless said otherwise.

    The `least_` and `most_` bounds over all rows let a decision skip a test that nobody can fail.
    """

    table: Ints
    """All of it, uncollapsed, shape (columns, rows): what the next version is made from."""
    lacks: Ints
    """Inverted capability bits: a set bit is something the offer cannot do."""
    context_window: IntColumn
    max_output: IntColumn
    default_output: IntColumn
    token_ratio: IntColumn
    verbosity: IntColumn
    first_token_p50: Ints
    first_token_p95: Ints
    first_token_p95_us: Ints
    us_per_token: IntColumn
    completion_p99: Ints
    sick: Ints
    """1 − health, ppm."""
    circuit_open: Bools
    least_context: int
    least_max_output: int
    most_default_output: int
    most_token_ratio: int


@dataclass(frozen=True, slots=True)
class StepColumns:
    """One level of long-context prices: calls of these rows above `threshold` input tokens pay them (nano-USD/Mtok).

    The worst prices are the highest of the base and all levels up to this one.
    """

    rows: Ints
    lowest: int
    """The least threshold: a call of no more tokens pays none of these."""
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


def columns_of(rows: Iterable[tuple[Offer, Conditions]]) -> Columns:
    """The columns of a whole book."""
    values = [_row_values(offer, conditions) for offer, conditions in rows]
    table = np.array(values, dtype=np.int64).reshape(len(values), _WIDTH).T
    return _columns(np.ascontiguousarray(table))


def changed_columns(
    columns: Columns, length: int, changes: Mapping[int, tuple[Offer, Conditions]]
) -> Columns:
    """The columns of a next version with so many rows, of which these are other or new."""
    table = grown(columns.table, length)
    for number, (offer, conditions) in changes.items():
        table[:, number] = _row_values(offer, conditions)
    return _columns(table)


def _row_values(offer: Offer, conditions: Conditions) -> tuple[int, ...]:
    return (
        lacks_of(offer),
        offer.context_window,
        offer.max_output_tokens,
        conditions.token_ratio_ppm,
        conditions.verbosity_ppm,
        conditions.first_token_p50_ms,
        conditions.first_token_p95_ms,
        conditions.us_per_token,
        conditions.completion_p99_ms,
        1_000_000 - conditions.health_ppm,
        int(conditions.circuit == CIRCUIT_OPEN),
    )


_WIDTH = 11


def _columns(table: Ints) -> Columns:
    lacks, context, max_output, ratio, verbosity, p50, p95, per_token, p99, sick, is_open = table
    default_output = np.minimum(max_output, DEFAULT_OUTPUT_TOKENS)
    return Columns(
        table=table,
        lacks=lacks,
        context_window=collapsed(context),
        max_output=collapsed(max_output),
        default_output=collapsed(default_output),
        token_ratio=collapsed(ratio),
        verbosity=collapsed(verbosity),
        first_token_p50=p50,
        first_token_p95=p95,
        first_token_p95_us=1_000 * p95,
        us_per_token=collapsed(per_token),
        completion_p99=p99,
        sick=sick,
        circuit_open=is_open != 0,
        least_context=int(context.min(initial=2**62)),
        least_max_output=int(max_output.min(initial=2**62)),
        most_default_output=int(default_output.max(initial=0)),
        most_token_ratio=int(ratio.max(initial=0)),
    )


def lacks_of(offer: Offer) -> int:
    """The inverted capability bits of an offer."""
    has = sum(MODALITY_BIT.get(name, 0) for name in offer.modalities) + sum(
        FEATURE_BIT.get(f, 0) for f in offer.features
    )
    return ~(has | (ZERO_RETENTION_BIT if offer.zero_retention else 0))


def price_columns(
    length: int,
    rows: Iterable[tuple[int, Offer, tuple[Quote, ...]]],
    period: tuple[int, int | None],
    at: int,
    before: PriceColumns | None = None,
) -> PriceColumns:
    """Effective prices at an instant (µs) of a period, during which they stay.

    `rows` are all rows, or with `before` those whose price may differ from then.
    """
    table = np.zeros((4, length), dtype=np.int64)
    unready = np.full(length, NO_QUOTE, dtype=np.int8)
    levels: dict[int, tuple[Level, ...]] = {}
    steps: tuple[StepColumns, ...] | None = ()
    if before is not None:
        old = len(before.input)
        table[0, :old], table[1, :old], table[2, :old] = before.input, before.output, before.worst_input
        table[3, :old] = before.per_request
        unready[:old] = before.unready
        levels, steps = dict(before.levels), before.steps
    for row, offer, quotes in rows:
        old_levels = levels.pop(row, None)
        unready[row] = _set_row(table, row, offer, effective_quote(quotes, at), levels)
        if levels.get(row) != old_levels:
            steps = None
    return PriceColumns(
        *period,
        input=table[0],
        output=table[1],
        worst_input=table[2],
        per_request=collapsed(table[3]),
        unready=unready,
        steps=_step_columns(levels) if steps is None else steps,
        levels=levels,
    )


def _set_row(
    table: Ints, row: int, offer: Offer, quote: Quote | None, levels: dict[int, tuple[Level, ...]]
) -> int:
    table[:, row] = 0
    if offer.withdrawn:
        return WITHDRAWN
    if quote is None or (quote.capacity is not None and quote.capacity.none):
        return NO_QUOTE
    if quote.quarantined:
        return QUARANTINED
    prices = quote.prices
    if prices.input is None or prices.output is None:
        return UNPRICED
    table[:, row] = (
        prices.input,
        prices.output,
        prices.input if prices.cache_write is None else max(prices.input, prices.cache_write),
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
        numbers = np.array(rows, dtype=np.int64)
        columns.append(StepColumns(numbers, int(table[:, 0].min()), *(table[:, i] for i in range(5))))
    return tuple(columns)
