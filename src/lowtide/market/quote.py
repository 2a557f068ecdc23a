"""Quotes: an offer's unit prices over an interval, and which of them is in force at an instant."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from lowtide.market.offer import Capacity
from lowtide.values.errors import OverlappingQuotes
from lowtide.values.instants import rfc3339


@dataclass(frozen=True, slots=True)
class PriceStep:
    """Prices that replace the base ones for a whole call whose input has more than `above_tokens` tokens.

    Nano-USD per million tokens; None inherits the base price.
    """

    above_tokens: int
    input: int | None = None
    output: int | None = None
    cached_input: int | None = None
    cache_write: int | None = None


@dataclass(frozen=True, slots=True)
class Prices:
    """Unit prices: nano-USD per million tokens, and nano-USD per request. None means unknown, never free.

    No cached price means the input price; no cache-write price likewise. Long-context `steps` rise by threshold.
    """

    input: int | None
    output: int | None
    cached_input: int | None = None
    cache_write: int | None = None
    per_request: int = 0
    steps: tuple[PriceStep, ...] = ()

    @property
    def known(self) -> bool:
        """Whether a bid can be computed: both token prices are there."""
        return self.input is not None and self.output is not None


@dataclass(frozen=True, slots=True)
class Quote:
    """Prices in force over `[valid_from, valid_until)`, µs UTC; no end means until replaced.

    `sequence` orders quotes of one offer and source: at an instant the highest that covers it counts.
    A quote that is held back for a check (quarantined) is in force but cannot win. `capacity` is what is sold at this
    price, where that is less than the offer's own; None where the quote does not say. Until `firm_until` (µs) its
    seller may neither take it back nor replace it by a dearer one.
    """

    prices: Prices
    valid_from: int
    valid_until: int | None
    sequence: int
    quarantined: bool = False
    capacity: Capacity | None = None
    firm_until: int | None = None

    def covers(self, at: int) -> bool:
        """Whether the quote's interval contains the instant (µs)."""
        return self.valid_from <= at and (self.valid_until is None or at < self.valid_until)


def effective_quote(quotes: Iterable[Quote], at: int) -> Quote | None:
    """The quote in force at an instant (µs): the highest sequence that covers it, or None."""
    best: Quote | None = None
    for quote in quotes:
        if quote.covers(at) and (best is None or quote.sequence > best.sequence):
            best = quote
    return best


def boundaries(quotes: Iterable[Quote]) -> set[int]:
    """Every instant (µs) at which the effective price may change."""
    edges: set[int] = set()
    for quote in quotes:
        edges.add(quote.valid_from)
        if quote.valid_until is not None:
            edges.add(quote.valid_until)
    return edges


def refuse_overlaps(quotes: Sequence[Quote]) -> None:
    """Raise OverlappingQuotes where two quotes of one push cover a common instant."""
    ordered = sorted(quotes, key=lambda quote: quote.valid_from)
    for earlier, later in pairwise(ordered):
        if earlier.valid_until is None or earlier.valid_until > later.valid_from:
            raise OverlappingQuotes(
                f"The quote from {rfc3339(earlier.valid_from)} still covers {rfc3339(later.valid_from)}, where the next "
                "one begins. End each quote (valid_until) at or before the start of the next."
            )


def pruned(quotes: Iterable[Quote], now: int, horizon: int) -> tuple[Quote, ...]:
    """The quotes that can still matter in `[now, horizon)`, in sequence order.

    Dropped: ended ones, ones that begin at or beyond the horizon, and ones wholly covered by a single later one that
    is not quarantined (what a suspicious price is measured against must stay), unless they are firm: they still bind.
    """
    alive = sorted(
        (q for q in quotes if (q.valid_until is None or q.valid_until > now) and q.valid_from < horizon),
        key=lambda q: (q.sequence, q.valid_from),
    )
    kept: list[Quote] = []
    for index, quote in enumerate(alive):
        start = max(quote.valid_from, now)
        hidden = (quote.firm_until is None or quote.firm_until <= now) and any(
            later.sequence > quote.sequence
            and (quote.quarantined or not later.quarantined)
            and later.valid_from <= start
            and (
                later.valid_until is None
                or (quote.valid_until is not None and later.valid_until >= quote.valid_until)
            )
            for later in alive[index + 1 :]
        )
        if not hidden:
            kept.append(quote)
    return tuple(kept)
