"""Screening: which of many holds a change of the book can alter, computed over columns of holds at once.

A hold is left alone only where it is certain that a full decision would keep its plan: its slot still stands, nothing
that changed comes up to the slot's value, and whatever bids are best, it starts in time and its rescue fits. All
bounds are on the careful side, so what is named here may turn out to keep its plan, never the other way round.
"""

import itertools
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lowtide.market.bid import BYTES_PER_TOKEN, PPM, at_row, expected_output
from lowtide.market.book import Book
from lowtide.market.columns import Bools, IntColumn, Ints, full
from lowtide.market.deferral.batch_lane import BATCH
from lowtide.market.deferral.net import GUARD_US
from lowtide.market.eligibility import answer_ms, at_any_price, for_good
from lowtide.market.quote import Prices, Quote, boundaries
from lowtide.market.spot import TOP, Inputs
from lowtide.market.task import Task
from lowtide.market.usage import flat_prices
from lowtide.values.instants import SECOND_US
from lowtide.values.money import MAX_TASK_NANO, MAX_TOKENS, MTOK

NONE = -1
"""Stands for no budget."""
_WITNESSES = 8
"""Offers tried at most as the rescue of those holds that have none yet."""


class Holds(NamedTuple):
    """Holds of one class: tasks alike in all but size, budget, value, the price of time and the deadline.

    By hold: the row waited for (−1 where it is not known), instants in µs, money in nano-USD; `max_cost` is −1 for none.
    """

    row: NDArray[Any]
    slot: Ints
    release_at: Ints
    complete_by: Ints
    input_bytes: Ints
    max_cost: Ints
    value: Ints
    per_second: Ints

    def some(self, which: Bools | NDArray[np.intp]) -> "Holds":
        """Those of a mask or of positions."""
        row, *others = self
        return Holds(row[which], *(column[which] for column in others))


def concerned(like: Task, before: Book, book: Book, changed: Collection[int]) -> bool:
    """Whether one of the changed rows could serve a class of tasks at all, before or now."""
    rows = sorted(changed)
    old = [row for row in rows if row < len(before)]
    return bool((for_good(like, book, ())[rows] == 0).any() or (for_good(like, before, ())[old] == 0).any())


def to_decide_again(
    like: Task, holds: Holds, book: Book, inputs: Inputs, changed: Collection[int], as_of: int
) -> Bools:
    """Mask of the holds whose plan may be another one as of now (µs), once these rows of the book have changed.

    `like` is any task of the class, with its type's usual output as known now.
    """
    sure = np.zeros(len(holds.row), dtype=np.bool_)
    if like.objective.fallback is not None or _hangs_on_a_rescue(like, book, inputs):
        return ~sure
    view = _View(like, book, inputs)
    if not len(view.able):
        return ~sure
    steady = view.steady(holds, as_of)
    for row in np.unique(holds.row[steady]).tolist():
        if row not in view.rows:
            continue
        of_row = (holds.row == row) & steady
        for slot in np.unique(holds.slot[of_row]).tolist():
            group = np.flatnonzero(of_row & (holds.slot == slot))
            rows = view.rows if row in changed else view.rows & set(changed)
            sure[group] = _stands(view, holds.some(group), row, slot, rows, as_of)
    return ~sure


def _hangs_on_a_rescue(like: Task, book: Book, inputs: Inputs) -> bool:
    """Where a batch or spot lane takes part, it hangs on what would catch it: left to the full decision."""
    sellers = {one.provider for one in inputs.batches}
    offers = (book.rows[row].offer for row in np.flatnonzero(for_good(like, book, ()) == 0).tolist())
    return bool(sellers or inputs.preemptible) and any(
        one.lane in inputs.preemptible or (one.lane == BATCH and one.provider in sellers) for one in offers
    )


def _stands(view: "_View", holds: Holds, row: int, slot: int, rows: set[int], as_of: int) -> Bools:
    """Holds of one slot of one row whose plan is sure to stand against other prices of some rows."""
    quote = view.book.quote_at(row, slot)
    if slot <= as_of or not _ready(view, row, quote) or quote is None or quote.valid_from != slot:
        return np.zeros(len(holds.row), dtype=np.bool_)
    fits, score, most = view.bid(holds, row, quote.prices)
    least = score - (most - view.cost(holds, row, quote.prices, highest=False))
    value = least - _waiting(holds, slot - as_of)
    stands = fits & view.rescued(holds)
    if view.like.objective.value_nano is not None:
        stands &= least >= 0
    for other in sorted(rows):
        for at, prices in _prices_ahead(view, other, as_of, int(holds.complete_by.max(initial=0))):
            if other == row and at == slot:
                continue
            theirs = view.score(holds, other, view.cost(holds, other, prices, highest=False))
            theirs -= _waiting(holds, at - as_of)
            beats = theirs > value if at > slot else theirs >= value
            stands &= ~(beats & (at <= view.latest(holds)[1]))
    return stands


def _prices_ahead(view: "_View", row: int, as_of: int, upto: int) -> Iterator[tuple[int, Prices]]:
    quotes, told = view.book.rows[row].quotes, list[tuple[bool, Prices]]()
    slots = [as_of, *sorted(at for at in boundaries(quotes) if as_of < at <= upto)]
    for at in slots:
        quote = view.book.quote_at(row, at)
        if quote is not None and _ready(view, row, quote):
            # The same price again, later, is worth no more; but the slot that is waited for may be its first.
            if told and told[-1] == (True, quote.prices):
                continue
            told.append((True, quote.prices))
            yield at, quote.prices
        else:
            told.append((False, _NO_PRICES))


_NO_PRICES = Prices(None, None)


def _ready(view: "_View", row: int, quote: Quote | None) -> bool:
    return (
        quote is not None
        and not view.book.rows[row].offer.withdrawn
        and not quote.quarantined
        and not (quote.capacity is not None and quote.capacity.none)
        and quote.prices.known
    )


def _waiting(holds: Holds, wait_us: int) -> Ints:
    cost: Ints = -(-holds.per_second * wait_us // SECOND_US)
    return cost


class _View:
    """A book as a class of tasks sees it: who could serve it at some price, and by row what bids rest on."""

    def __init__(self, like: Task, book: Book, inputs: Inputs) -> None:
        self.like, self.book = like, book
        columns = book.columns
        limit: IntColumn = columns.default_output if like.max_output is None else like.max_output
        self._limit = full(limit, len(book))
        self._output = full(expected_output(like, limit, columns.verbosity), len(book))
        plain = replace(like, constraints=replace(like.constraints, complete_by=None))
        self.able = np.flatnonzero(at_any_price(plain, book, self._output, inputs.closed_lanes) == 0)
        self.rows: set[int] = set(self.able.tolist())
        slow = answer_ms(columns.first_token_p95, self._output, columns.us_per_token)
        self._p99 = np.where(columns.completion_p99 > 0, columns.completion_p99, 2 * slow)
        self._typical = answer_ms(columns.first_token_p50, self._output, columns.us_per_token)
        self._quality, _ = book.quality_columns(like.domain)
        self._ill = -(-inputs.reference_cost_nano * columns.sick // PPM)
        self._all_in_the_top = len(self.able) <= TOP
        self._rescues: list[int] | None = None

    def latest(self, holds: Holds) -> tuple[Ints, Ints]:
        """The latest start (µs) is not before the one and not after the other, whichever bids are best."""
        p99 = self._p99[self.able]
        ends = holds.complete_by - GUARD_US
        return ends - 2_000 * int(p99.max()), ends - 2_000 * int(p99.min())

    def steady(self, holds: Holds, as_of: int) -> Bools:
        """Holds that start in time and see no step between the bounds of their latest start."""
        low, high = self.latest(holds)
        steps = {
            at
            for row in self.rows
            for at in boundaries(self.book.rows[row].quotes)
            if as_of < at <= int(high.max(initial=0))
        }
        edges = np.array(sorted(steps), dtype=np.int64)
        between = np.searchsorted(edges, high, side="right") > np.searchsorted(edges, low, side="right")
        return (holds.release_at <= low) & (holds.slot <= low) & (as_of < low) & ~between

    def cost(self, holds: Holds, row: int, prices: Prices, *, highest: bool) -> Ints:
        """Expected cost at the highest or lowest of the prices that the size of a call may bring, nano-USD."""
        price_in, price_out, _ = _bounds(prices, highest=highest)
        answers = self.like.n * int(self._output[row])
        tokens = self._tokens(holds, row)
        return (tokens * price_in + (answers * price_out + MTOK - 1)) // MTOK + prices.per_request

    def bid(self, holds: Holds, row: int, prices: Prices) -> tuple[Bools, Ints, Ints]:
        """Whether a call surely fits context and budget; its score and expected cost at the highest prices."""
        cost = self.cost(holds, row, prices, highest=True)
        fits = self._fits(holds, row) & (self._worst(holds, row, prices) <= self._budget(holds))
        return fits, self.score(holds, row, cost), cost

    def score(self, holds: Holds, row: int, cost: Ints) -> Ints:
        """The surplus at such a cost, nano-USD, as `scores` computes it."""
        if self.like.objective.value_nano is not None:
            score = holds.value * int(self._quality[row]) // PPM - cost
        else:
            score = np.maximum(holds.max_cost, 0) - cost
        score -= (holds.per_second * int(self._typical[row]) + 999) // 1_000
        return score - int(self._ill[row])

    def rescued(self, holds: Holds) -> Bools:
        """Holds that are sure of a rescue whenever the latest start is: a price in the budget, and who to turn to."""
        _, high = self.latest(holds)
        priced = np.zeros(len(high), dtype=np.bool_)
        provider, second = np.full(len(high), NONE), np.full(len(high), not self._several_providers())
        for row in self._best_rescues():
            left, code = np.flatnonzero(~(priced & second)), int(self.book.provider_codes[row])
            if not len(left):
                break
            for at in np.unique(self._period(row, high[left])).tolist():
                here = left[self._period(row, high[left]) == at]
                quote = self.book.quote_at(row, max(at, 0))
                if quote is not None and _ready(self, row, quote):
                    serves, within = self._rescue(
                        holds.some(here), row, quote.prices, quote.valid_until is not None
                    )
                    priced[here] |= within
                    second[here] |= serves & (provider[here] != NONE) & (provider[here] != code)
                    provider[here] = np.where(serves & (provider[here] == NONE), code, provider[here])
        rescued: Bools = priced & second
        return rescued

    def _several_providers(self) -> bool:
        return len(np.unique(self.book.provider_codes[self.able])) > 1

    def _rescue(self, holds: Holds, row: int, prices: Prices, firm: bool) -> tuple[Bools, Bools]:
        """Whether a row can surely serve a rescue, and whether its price is surely known to be within the budget."""
        fits, score, _ = self.bid(holds, row, prices)
        ceiling = self.book.rows[row].conditions.price_max
        capped = holds.max_cost != NONE
        # Of a task without a value no bid is below the reserve.
        serves = fits & ((score >= 0) | (self.like.objective.value_nano is None))
        by_firm = serves & (firm and self._all_in_the_top)
        if ceiling is None:
            return serves, np.where(capped, by_firm, serves)
        most = self._most(holds, row) * ceiling[0] + int(self._limit[row]) * ceiling[1]
        by_history = np.maximum(ceiling[2] - (-most // MTOK), self._worst(holds, row, prices))
        return serves, np.where(capped, by_firm | (fits & (by_history <= holds.max_cost)), serves)

    def _best_rescues(self) -> list[int]:
        """Offers that are quick enough whichever bids are best, those of the lowest highest prices first."""
        if self._rescues is None:
            quick = self.able[self._p99[self.able] <= 2 * int(self._p99[self.able].min())]
            maxima = {row: self.book.rows[row].conditions.price_max for row in quick.tolist()}
            ordered = sorted(maxima, key=lambda row: maxima[row] or (MAX_TASK_NANO, 0, 0))
            codes = self.book.provider_codes
            another = (row for row in ordered[_WITNESSES:] if codes[row] != codes[ordered[0]])
            self._rescues = [*ordered[:_WITNESSES], *itertools.islice(another, 1)]
        return self._rescues

    def _period(self, row: int, at: Ints) -> Ints:
        edges = np.array([-1, *sorted(boundaries(self.book.rows[row].quotes))], dtype=np.int64)
        starts: Ints = edges[np.searchsorted(edges, at, side="right") - 1]
        return starts

    def _tokens(self, holds: Holds, row: int) -> Ints:
        ratio = at_row(self.book.columns.token_ratio, row)
        tokens: Ints = -(-(-(-holds.input_bytes // BYTES_PER_TOKEN) * ratio) // PPM)
        return np.minimum(tokens, MAX_TOKENS)

    def _most(self, holds: Holds, row: int) -> Ints:
        return np.minimum(-(-5 * self._tokens(holds, row) // 4), MAX_TOKENS)

    def _worst(self, holds: Holds, row: int, prices: Prices) -> Ints:
        _, price_out, price_in = _bounds(prices, highest=True)
        longest = self.like.n * int(self._limit[row])
        worst: Ints = (
            -(-(self._most(holds, row) * price_in + longest * price_out) // MTOK) + prices.per_request
        )
        return worst

    def _budget(self, holds: Holds) -> Ints:
        return np.where(holds.max_cost == NONE, MAX_TASK_NANO, np.minimum(holds.max_cost, MAX_TASK_NANO))

    def _fits(self, holds: Holds, row: int) -> Bools:
        window = at_row(self.book.columns.context_window, row)
        return self._tokens(holds, row) + int(self._limit[row]) <= window


def _bounds(prices: Prices, *, highest: bool) -> tuple[int, int, int]:
    """The highest or lowest input, output and worst input price over all sizes of a call."""
    flat = [flat_prices(prices, tokens) for tokens in (0, *(step.above_tokens + 1 for step in prices.steps))]
    pick = max if highest else min
    return (
        pick(one.input for one in flat),
        pick(one.output for one in flat),
        pick(max(one.input, one.cache_write) for one in flat),
    )
