"""Suspicious prices: a tenfold jump or a fall to zero is held back until a reading or an operator confirms it."""

from collections.abc import Iterable

from lowtide.market.quote import Prices, Quote
from lowtide.values.money import usd

JUMP = 10
ALIKE = 10
"""A held-back price is confirmed by one within a tenth of it."""
_NAMES = ("input", "output", "cached_input", "cache_write", "per_request")


def suspicion(known: Iterable[Quote], fresh: Prices) -> str | None:
    """Why a new price is held back: it is ten times more or less than, or zero against, every price known before.

    None where it is near one that counts, where it says what one that was held back said, or where none that counts is
    known: the first price of an offer has nothing to jump from.
    """
    why: str | None = None
    for quote in known:
        if quote.quarantined:
            if _alike(quote.prices, fresh):
                return None
            continue
        jump = _jump(quote.prices, fresh)
        if jump is None:
            return None
        why = why or jump
    return why


def _jump(before: Prices, fresh: Prices) -> str | None:
    for name in _NAMES:
        old, new = getattr(before, name), getattr(fresh, name)
        if not old or new is None:
            continue
        if new == 0:
            return f"{name} falls from ${usd(old)} to zero"
        if new >= JUMP * old or JUMP * new <= old:
            return f"{name} jumps from ${usd(old)} to ${usd(new)}"
    return None


def _alike(held: Prices, fresh: Prices) -> bool:
    """Whether each price is within a tenth of the one held back."""
    for name in _NAMES:
        old, new = getattr(held, name), getattr(fresh, name)
        if (old is None) != (new is None):
            return False
        if old is not None and new is not None and ALIKE * abs(new - old) > old:
            return False
    return True
