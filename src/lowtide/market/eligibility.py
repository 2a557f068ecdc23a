"""Whether a bid may win, and if not the first reason why (MARKET.md section 4)."""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from lowtide.market.bid import Bids
from lowtide.market.book import Book
from lowtide.market.columns import (
    FEATURE_BIT,
    FEATURE_BITS,
    MODALITY_BIT,
    MODALITY_BITS,
    ZERO_RETENTION_BIT,
    IntColumn,
    Ints,
    PriceColumns,
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
    task: Task, book: Book, prices: PriceColumns, bids: Bids, as_of: int, refused: tuple[int, ...]
) -> Reasons:
    """The first failing reason of every row up to `over_budget`, 0 for bids still in.

    Assigned from the last reason to the first, so that the first stays. `refused` are rows whose reservation failed.
    """
    limits, columns = task.constraints, book.columns
    found = np.zeros(len(book), dtype=np.int8)
    ceiling = MAX_TASK_NANO if limits.max_cost_nano is None else min(limits.max_cost_nano, MAX_TASK_NANO)
    found[bids.worst > ceiling] = LossReason.OVER_BUDGET
    if limits.complete_by is not None:
        found[as_of + 1_000 * completion_p99_ms(book, bids) > limits.complete_by] = LossReason.TOO_LATE
    if limits.max_latency_ms is not None:
        slow = answer_ms(columns.first_token_p95, bids.expected_output, columns.us_per_token)
        found[slow > limits.max_latency_ms] = LossReason.TOO_SLOW
    if limits.min_quality_ppm is not None:
        mean, weight = book.quality_columns(task.domain)
        found[lower_bounds(mean, weight, limits.z_ppm) < limits.min_quality_ppm] = (
            LossReason.QUALITY_BELOW_FLOOR
        )
    if refused:
        found[list(refused)] = LossReason.NO_CAPACITY
    if columns.any_open:
        found[columns.circuit_open] = LossReason.CIRCUIT_OPEN
    _capability_reasons(task, book, bids, found)
    if not task.lists.empty:
        found[book.barred(task.lists)] = LossReason.NOT_ALLOWED
    if prices.any_unready:
        np.copyto(found, prices.unready, where=prices.unready != 0)
    return found


def _capability_reasons(task: Task, book: Book, bids: Bids, found: Reasons) -> None:
    columns, limits = book.columns, task.constraints
    need = sum(MODALITY_BIT[m] for m in task.needs.modalities) | sum(
        FEATURE_BIT[f] for f in task.needs.features
    )
    lacking = columns.lacks & (need | (ZERO_RETENTION_BIT if limits.zero_retention else 0))
    lacks_some = bool(lacking.any())
    if lacks_some and limits.zero_retention:
        found[(lacking & ZERO_RETENTION_BIT) != 0] = LossReason.RETENTION_NOT_ALLOWED
    if limits.regions is not None:
        found[book.outside(limits.regions)] = LossReason.REGION_NOT_ALLOWED
    if task.max_output is not None:
        _mark(found, task.max_output > columns.max_output, LossReason.OUTPUT_TOO_LONG)
    _mark(found, bids.input_tokens + bids.output_limit > columns.context_window, LossReason.CONTEXT_TOO_LONG)
    if lacks_some:
        found[(lacking & FEATURE_BITS) != 0] = LossReason.FEATURE_MISSING
        found[(lacking & MODALITY_BITS) != 0] = LossReason.MODALITY_MISSING


def _mark(found: Reasons, mask: NDArray[np.bool_] | bool, reason: LossReason) -> None:
    if isinstance(mask, bool):
        if mask:
            found[:] = reason
    else:
        found[mask] = reason
