"""The requester's surplus of every bid, in money; never normalised within an auction (MARKET.md section 5)."""

import numpy as np

from lowtide.market.bid import Bids
from lowtide.market.book import Book
from lowtide.market.columns import Ints
from lowtide.market.eligibility import answer_ms
from lowtide.market.task import Task

PPM = 1_000_000


def scores(task: Task, book: Book, bids: Bids, reference_cost_nano: int) -> Ints:
    """score = V − expected − per_second·latency_p50 − (1 − health)·reference cost, nano-USD, each term rounded down.

    V = value·q̂ where the task gives a value, else its budget, else 0: then the cheapest has the highest score.
    """
    objective, columns = task.objective, book.columns
    score: Ints
    if objective.value_nano is not None:
        quality, _ = book.quality_columns(task.domain)
        score = _scaled_down(objective.value_nano, quality) - bids.expected
    else:
        score = (task.constraints.max_cost_nano or 0) - bids.expected
    if objective.per_second_nano:
        typical = answer_ms(columns.first_token_p50, bids.expected_output, columns.us_per_token)
        score -= (objective.per_second_nano * typical + 999) // 1_000
    if reference_cost_nano:
        score -= -_scaled_down(-reference_cost_nano, columns.sick)
    return score


def reserve(task: Task, book: Book, score: Ints, reason: np.ndarray) -> int | None:
    """S₀, nano-USD: the eligible fallback's score, else 0 where a value is given, else None."""
    if task.objective.fallback is not None:
        row = book.row_of.get(task.objective.fallback)
        if row is not None and reason[row] == 0:
            return int(score[row])
    return 0 if task.objective.value_nano is not None else None


def _scaled_down(amount: int, ppm: Ints) -> Ints:
    """⌊amount·ppm / 10⁶⌋ without leaving int64: amount is at most $1,000 (10¹² nano), ppm at most 10⁶."""
    return amount * ppm // PPM
