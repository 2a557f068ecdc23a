"""Suspicious prices: a tenfold jump or a fall to zero is held back until a reading or an operator confirms it."""

from collections.abc import Iterable

from lowtide.market.quote import Prices
from lowtide.values.money import usd

JUMP = 10
_NAMES = ("input", "output", "cached_input", "cache_write", "per_request")


def suspicion(known: Iterable[Prices], fresh: Prices) -> str | None:
    """Why a new price is held back: it is ten times more or less than, or zero against, every price known before.

    None where it is near one of them, or where none is known: the first price of an offer has nothing to jump from.
    """
    why: str | None = None
    for before in known:
        why = _jump(before, fresh)
        if why is None:
            return None
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
