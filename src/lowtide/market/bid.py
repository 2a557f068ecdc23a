"""What every offer's bid for a task costs: expected (bids are ranked by it) and worst (they are admitted by it)."""

from typing import NamedTuple

import numpy as np

from lowtide.market.book import Book
from lowtide.market.columns import Bools, Columns, IntColumn, Ints, PriceColumns, StepColumns, full
from lowtide.market.task import UNKNOWN_OUTPUT_TOKENS, Task
from lowtide.values.money import MAX_TOKENS, MTOK, ceil_div

PPM = 1_000_000
BYTES_PER_TOKEN = 4
# Arrays of no dimension, since NumPy takes longer to convert a plain int than to divide by it.
_PPM, _PPM_LESS_1, _MTOK, _MTOK_LESS_1 = map(np.array, (PPM, PPM - 1, MTOK, MTOK - 1))
_2, _3 = map(np.array, (2, 3))


class Bids(NamedTuple):
    """By row: expected and worst cost (nano-USD), and the tokens they rest on.

    The worst cost is kept as its parts, since most are only compared: of tokens, in millionths of a nano-USD, and
    per request.
    """

    expected: Ints
    worst_of_tokens: Ints
    per_request: IntColumn
    input_tokens: IntColumn
    expected_output: IntColumn
    output_limit: IntColumn

    @property
    def worst(self) -> Ints:
        """Every row's worst cost, nano-USD, rounded up once."""
        return -(-self.worst_of_tokens // MTOK) + self.per_request

    def worst_of(self, row: int) -> int:
        """One row's worst cost, nano-USD, rounded up once."""
        return ceil_div(int(self.worst_of_tokens[row]), MTOK) + at_row(self.per_request, row)

    def worst_of_rows(self, rows: list[int]) -> list[int]:
        """Some rows' worst cost, nano-USD, rounded up once."""
        of_tokens = self.worst_of_tokens.item
        if isinstance(self.per_request, int):
            return [self.per_request - -of_tokens(row) // MTOK for row in rows]
        return [int(self.per_request[row]) - -of_tokens(row) // MTOK for row in rows]

    def beyond(self, ceiling_nano: int) -> Bools:
        """Rows whose worst cost is more than so much: ⌈x⌉ > c exactly where x > c, so nothing need be divided."""
        return self.worst_of_tokens > (ceiling_nano - self.per_request) * MTOK


def input_tokens(task: Task, token_ratio_ppm: IntColumn) -> IntColumn:
    """i = ceil(UTF-8 bytes / 4) × the model's learned token ratio, rounded up (MARKET.md section 3)."""
    return _share(ceil_div(task.input_bytes, BYTES_PER_TOKEN), token_ratio_ppm)


def most_tokens(task: Task, columns: Columns) -> int:
    """No row's i⁺ = ⌈1.25·i⌉ is more tokens than this."""
    tokens = ceil_div(ceil_div(task.input_bytes, BYTES_PER_TOKEN) * columns.most_token_ratio, PPM)
    return ceil_div(5 * tokens, 4)


def expected_output(task: Task, limit: IntColumn, verbosity_ppm: IntColumn) -> IntColumn:
    """ê: the type's usual output × the model's verbosity; while unknown half the limit, at most 512; never above it."""
    if task.usual_output is None:
        return _least((limit + 1) // 2, UNKNOWN_OUTPUT_TOKENS)
    return _least(_share(task.usual_output, verbosity_ppm), limit)


def bids(task: Task, book: Book, prices: PriceColumns) -> Bids:
    """Every row's bid. Rows without a price get figures too; eligibility says that they don't count.

    ê is the same for all tasks of a type, so it is computed once a version.
    """
    columns = book.columns
    tokens = input_tokens(task, columns.token_ratio)
    most_of_all = most_tokens(task, columns)
    if most_of_all > MAX_TOKENS:
        tokens = _least(tokens, MAX_TOKENS)
    most = _five_quarters(tokens)
    if most_of_all > MAX_TOKENS:
        most = _least(most, MAX_TOKENS)
    limit: IntColumn = columns.default_output if task.max_output is None else task.max_output
    output = book.remembered(
        ("output", task.usual_output, task.max_output),
        lambda: expected_output(task, limit, columns.verbosity),
    )
    answers, longest = (output, limit) if task.n == 1 else (task.n * output, task.n * limit)
    cost, worst = tokens * prices.input, most * prices.worst_input
    of_output = answers * prices.output
    cost += of_output
    worst += np.multiply(longest, prices.output, out=of_output)
    for step in prices.steps:
        if most_of_all > step.lowest:
            _pay(cost, step, tokens, answers, step.input, step.output)
            _pay(worst, step, most, longest, step.worst_input, step.worst_output)
    cost += _MTOK_LESS_1
    cost //= _MTOK
    if not (isinstance(prices.per_request, int) and prices.per_request == 0):
        cost += prices.per_request
    return Bids(cost, worst, prices.per_request, tokens, output, limit)


def _pay(
    cost: Ints, step: StepColumns, given: IntColumn, taken: IntColumn, price_in: Ints, price_out: Ints
) -> None:
    """Put in the cost of calls beyond the step's threshold, at its prices, in millionths of a nano-USD."""
    applies = at_rows(given, step.rows) > step.threshold
    rows = step.rows[applies]
    cost[rows] = at_rows(given, rows) * price_in[applies] + at_rows(taken, rows) * price_out[applies]


def _five_quarters(tokens: IntColumn) -> IntColumn:
    """⌈1.25·tokens⌉, by a shift."""
    if isinstance(tokens, int):
        return ceil_div(5 * tokens, 4)
    more: Ints = tokens + _3
    more >>= _2
    more += tokens
    return more


def at_row(column: IntColumn, row: int) -> int:
    """One row's value, whatever the column's form."""
    return column if isinstance(column, int) else int(column[row])


def at_rows(column: IntColumn, rows: Ints) -> Ints:
    """Some rows' values, whatever the column's form."""
    return full(column, len(rows)) if isinstance(column, int) else column[rows]


def _share(amount: int, ppm: IntColumn) -> IntColumn:
    """⌈amount·ppm / 10⁶⌉."""
    if isinstance(ppm, int):
        return ceil_div(amount * ppm, PPM)
    share = amount * ppm
    share += _PPM_LESS_1
    share //= _PPM
    return share


def _least(left: IntColumn, right: IntColumn) -> IntColumn:
    if isinstance(left, int) and isinstance(right, int):
        return min(left, right)
    return np.minimum(left, right)
