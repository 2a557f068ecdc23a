"""Whether a bid may win, and if not the first reason why (MARKET.md section 4)."""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from lowtide.market.bid import Bids, most_tokens
from lowtide.market.book import Book
from lowtide.market.columns import (
    FEATURE_BIT,
    MODALITY_BIT,
    ZERO_RETENTION_BIT,
    IntColumn,
    Ints,
    PriceColumns,
    full,
)
from lowtide.market.reputation import lower_bounds
from lowtide.market.task import Task
from lowtide.values.money import MAX_TASK_NANO

Reasons = NDArray[np.int8]


class LossReason(IntEnum):
    """Why a bid did not win. Numbers stand in records: they are only ever appended."""

    NONE = 0
    WITHDRAWN = 1
    NO_VALID_QUOTE = 2
    QUOTE_QUARANTINED = 3
    UNPRICED = 4
    NOT_ALLOWED = 5
    MODALITY_MISSING = 6
    FEATURE_MISSING = 7
    CONTEXT_TOO_LONG = 8
    OUTPUT_TOO_LONG = 9
    REGION_NOT_ALLOWED = 10
    RETENTION_NOT_ALLOWED = 11
    CIRCUIT_OPEN = 12
    NO_CAPACITY = 13
    QUALITY_BELOW_FLOOR = 14
    TOO_SLOW = 15
    TOO_LATE = 16
    OVER_BUDGET = 17
    BELOW_RESERVE = 18
    OUTBID = 20
    LOST_TIE = 21
    NOT_CLEARED = 22
    BID_TIMEOUT = 30
    BID_INVALID = 31
    BID_ABOVE_QUOTE = 32
    NO_BID = 33
    NOT_ASKED = 34

    @property
    def code(self) -> str:
        """The reason as the API names it, such as `quality_below_floor`."""
        return self.name.lower()


PASSING = frozenset(
    {
        LossReason.NO_VALID_QUOTE,
        LossReason.QUOTE_QUARANTINED,
        LossReason.CIRCUIT_OPEN,
        LossReason.NO_CAPACITY,
        LossReason.BID_TIMEOUT,
        LossReason.NO_BID,
        LossReason.NOT_ASKED,
    }
)
"""Reasons that pass with time, for any task."""
PASSING_WITH_DEADLINE = PASSING | {LossReason.OVER_BUDGET, LossReason.BELOW_RESERVE}
"""With a `complete_by`, prices may still come down in time."""


def progress(reason: int) -> int:
    """How far a bid with this reason came: its place in the order of the tests. Those of live bids come after the third."""
    after_the_third = 10 * LossReason.QUOTE_QUARANTINED + reason - LossReason.BID_TIMEOUT + 1
    return after_the_third if reason >= LossReason.BID_TIMEOUT else 10 * reason


def passes(reason: int, *, has_deadline: bool) -> bool:
    """Whether the reason may pass with time for such a task."""
    return reason in (PASSING_WITH_DEADLINE if has_deadline else PASSING)


def answer_ms(first_token_ms: Ints, output: IntColumn, us_per_token: IntColumn) -> Ints:
    """Time of the whole answer, ms, rounded up: first token + ê × time per token."""
    return first_token_ms + (output * us_per_token + 999) // 1_000


def completion_p99_ms(book: Book, bids: Bids) -> Ints:
    """p99 of completion by row, ms; twice the p95 answer time until 20 answers are known."""
    columns = book.columns
    slow = answer_ms(columns.first_token_p95, bids.expected_output, columns.us_per_token)
    return np.where(columns.completion_p99 > 0, columns.completion_p99, 2 * slow)


def reasons(
    task: Task,
    book: Book,
    prices: PriceColumns,
    bids: Bids,
    as_of: int,
    refused: tuple[int, ...] = (),
    closed_lanes: tuple[str, ...] = (),
) -> Reasons:
    """The first failing reason of every row up to `over_budget`, 0 for bids still in.

    The reasons stand in the order of their numbers, so the first that fails is the least, in whatever order they are
    tested. `refused` are rows whose reservation failed; a lane that is closed is a feature that nobody can use.
    """
    limits, columns = task.constraints, book.columns
    found = _of_type(task, book, prices, bids, closed_lanes).copy()
    if refused:
        rows = list(refused)
        found[rows] = np.maximum(found[rows], _WEIGHTS[LossReason.NO_CAPACITY])
    longest = columns.most_default_output if task.max_output is None else task.max_output
    if most_tokens(task, columns) + longest > columns.least_context:
        exceeds = bids.input_tokens + bids.output_limit > columns.context_window
        _strike(found, exceeds, LossReason.CONTEXT_TOO_LONG)
    if limits.complete_by is not None:
        left_ms = (limits.complete_by - as_of) // 1_000
        _strike(found, completion_p99_ms(book, bids) > left_ms, LossReason.TOO_LATE)
    ceiling = MAX_TASK_NANO if limits.max_cost_nano is None else min(limits.max_cost_nano, MAX_TASK_NANO)
    _strike(found, bids.beyond(ceiling), LossReason.OVER_BUDGET)
    return np.negative(found, out=found).view(np.int8)


def for_good(task: Task, book: Book, closed_lanes: tuple[str, ...]) -> Reasons:
    """What of the task's needs a row can never meet, whatever its price now: the first such reason, 0 for none."""
    found = _of_needs(task, book, np.zeros(len(book), dtype=np.int8), closed_lanes)
    reason = np.negative(found, out=found).view(np.int8)
    reason[reason > LossReason.RETENTION_NOT_ALLOWED] = 0
    return reason


def at_any_price(task: Task, book: Book, output: IntColumn, closed_lanes: tuple[str, ...]) -> Reasons:
    """What of the task's needs and of its kind a row cannot meet as it is now, whatever its price; 0 for none.

    `output` is ê by row. Size, budget and deadline are left out: they are each task's own.
    """
    limits, columns = task.constraints, book.columns
    found = _of_needs(task, book, np.zeros(len(book), dtype=np.int8), closed_lanes)
    if task.max_output is not None:
        _strike(found, full(columns.max_output, len(book)) < task.max_output, LossReason.OUTPUT_TOO_LONG)
    if limits.max_latency_ms is not None:
        takes_us = output * columns.us_per_token + columns.first_token_p95_us
        _strike(found, takes_us > 1_000 * limits.max_latency_ms, LossReason.TOO_SLOW)
    return np.negative(found, out=found).view(np.int8)


Weights = NDArray[np.uint8]
"""Reasons while they are found: 256 − number, 0 for none. The first reason weighs most, and bytes are fast."""


# Arrays of no dimension, since NumPy takes longer to convert a scalar than to multiply by it.
_WEIGHTS = {reason: np.array(256 - reason, dtype=np.uint8) for reason in LossReason if reason}


def _strike(found: Weights, fails: NDArray[np.bool_] | bool, reason: LossReason) -> None:
    """Give the reason to the rows that fail, unless they have an earlier one. The mask `fails` is used up."""
    if isinstance(fails, bool):
        if fails:
            np.maximum(found, _WEIGHTS[reason], out=found)
    else:
        weights = fails.view(np.uint8)
        weights *= _WEIGHTS[reason]
        np.maximum(found, weights, out=found)


def _of_type(
    task: Task, book: Book, prices: PriceColumns, bids: Bids, closed_lanes: tuple[str, ...]
) -> Weights:
    """The reasons that hold for every task of this kind, whatever its size, budget and deadline."""
    limits = task.constraints
    able = (
        prices.since,
        task.needs,
        task.lists,
        task.domain,
        limits.regions,
        limits.zero_retention,
        limits.min_quality_ppm,
        limits.z_ppm,
        closed_lanes,
    )

    def found() -> Weights:
        columns = book.columns
        found = book.remembered(able, lambda: _of_needs(task, book, prices.unready, closed_lanes)).copy()
        if task.max_output is not None and task.max_output > columns.least_max_output:
            _strike(found, task.max_output > columns.max_output, LossReason.OUTPUT_TOO_LONG)
        if limits.max_latency_ms is not None:
            takes_us = bids.expected_output * columns.us_per_token + columns.first_token_p95_us
            _strike(found, takes_us > 1_000 * limits.max_latency_ms, LossReason.TOO_SLOW)
        return found

    return book.remembered((able, task.usual_output, task.max_output, limits.max_latency_ms), found)


def _of_needs(task: Task, book: Book, unready: NDArray[np.int8], closed_lanes: tuple[str, ...]) -> Weights:
    columns, limits, needs = book.columns, task.constraints, task.needs
    found = np.negative(unready).view(np.uint8)
    if not task.lists.empty:
        _strike(found, book.barred(task.lists), LossReason.NOT_ALLOWED)
    modalities = sum(MODALITY_BIT[name] for name in needs.modalities)
    features = sum(FEATURE_BIT[name] for name in needs.features)
    _strike(found, columns.lacks & modalities != 0, LossReason.MODALITY_MISSING)
    _strike(found, columns.lacks & features != 0, LossReason.FEATURE_MISSING)
    if closed_lanes:
        _strike(found, book.on_lanes(closed_lanes), LossReason.FEATURE_MISSING)
    if limits.regions is not None:
        _strike(found, book.outside(limits.regions), LossReason.REGION_NOT_ALLOWED)
    if limits.zero_retention:
        _strike(found, columns.lacks & ZERO_RETENTION_BIT != 0, LossReason.RETENTION_NOT_ALLOWED)
    _strike(found, columns.circuit_open.copy(), LossReason.CIRCUIT_OPEN)
    if limits.min_quality_ppm is not None:
        bound = lower_bounds(*book.quality_columns(task.domain), limits.z_ppm)
        _strike(found, bound < limits.min_quality_ppm, LossReason.QUALITY_BELOW_FLOOR)
    return found
