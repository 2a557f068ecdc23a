"""What every offer's bid for a task costs: expected (bids are ranked by it) and worst (they are admitted by it)."""

from dataclasses import dataclass

import numpy as np

from lowtide.market.columns import Columns, IntColumn, Ints, PriceColumns, full
from lowtide.market.task import UNKNOWN_OUTPUT_TOKENS, Task
from lowtide.values.money import MAX_TOKENS, MTOK, ceil_div

PPM = 1_000_000
BYTES_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Bids:
    """By row: expected and worst cost (nano-USD), and the tokens they rest on."""

    expected: Ints
    worst: Ints
    input_tokens: IntColumn
    expected_output: IntColumn
    output_limit: IntColumn


def input_tokens(task: Task, token_ratio_ppm: IntColumn) -> IntColumn:
    """i = ceil(UTF-8 bytes / 4) × the model's learned token ratio, rounded up (MARKET.md section 3)."""
    base = ceil_div(task.input_bytes, BYTES_PER_TOKEN)
    return _ceil(base * token_ratio_ppm, PPM)


def expected_output(task: Task, limit: IntColumn, verbosity_ppm: IntColumn) -> IntColumn:
    """ê: the type's usual output × the model's verbosity; while unknown half the limit, at most 512; never above it."""
    if task.usual_output is None:
        return _least(_ceil(limit, 2), UNKNOWN_OUTPUT_TOKENS)
    return _least(_ceil(task.usual_output * verbosity_ppm, PPM), limit)


def bids(task: Task, columns: Columns, prices: PriceColumns) -> Bids:
    """Every row's bid. Rows without a price get figures too; eligibility says that they don't count."""
    tokens = _least(input_tokens(task, columns.token_ratio), MAX_TOKENS)
    most_tokens = _least(_ceil(tokens * 5, 4), MAX_TOKENS)
    limit: IntColumn = columns.default_output if task.max_output is None else task.max_output
    output = expected_output(task, limit, columns.verbosity)
    answers, most = task.n * output, task.n * limit
    token_cost = tokens * prices.input + answers * prices.output
    worst_cost = most_tokens * prices.worst_input + most * prices.output
    length = len(prices.input)
    for step in prices.steps:
        applies = _at(tokens, step.rows, length) > step.threshold
        rows = step.rows[applies]
        token_cost[rows] = (
            _at(tokens, rows, length) * step.input[applies]
            + _at(answers, rows, length) * step.output[applies]
        )
        applies = _at(most_tokens, step.rows, length) > step.threshold
        rows = step.rows[applies]
        worst_cost[rows] = (
            _at(most_tokens, rows, length) * step.worst_input[applies]
            + _at(most, rows, length) * step.worst_output[applies]
        )
    expected, worst = _ceil_in_place(token_cost), _ceil_in_place(worst_cost)
    if not (isinstance(prices.per_request, int) and prices.per_request == 0):
        expected += prices.per_request
        worst += prices.per_request
    return Bids(expected, worst, tokens, output, limit)


def _ceil_in_place(cost: Ints) -> Ints:
    cost += MTOK - 1
    cost //= MTOK
    return cost


def _ceil(value: IntColumn, divisor: int) -> IntColumn:
    return (value + (divisor - 1)) // divisor


def _least(left: IntColumn, right: IntColumn) -> IntColumn:
    if isinstance(left, int) and isinstance(right, int):
        return min(left, right)
    return np.minimum(left, right)


def _at(column: IntColumn, rows: Ints, length: int) -> Ints:
    return full(column, length)[rows] if isinstance(column, int) else column[rows]
