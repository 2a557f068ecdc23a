"""The dearest of several prices: what a call costs at most, whichever of them is charged."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from lowtide.market.quote import Prices, PriceStep


class _Level(NamedTuple):
    """Unit prices of a call of some length; a cached or written price of None is the input price."""

    input: int | None
    output: int | None
    cached_input: int | None
    cache_write: int | None


def dearest(options: Iterable[Prices]) -> Prices:
    """Prices that are, field by field and for every length of input, the highest of those given (at least one).

    A price that one of them does not know is unknown.
    """
    few = list(dict.fromkeys(options))
    if len(few) == 1:
        return few[0]
    base = before = _highest([_level(prices, 0) for prices in few])
    steps = []
    for above in sorted({step.above_tokens for prices in few for step in prices.steps}):
        level = _highest([_level(prices, above + 1) for prices in few])
        if level != before:
            steps.append(PriceStep(above, *level))
        before = level
    per_request = max(prices.per_request for prices in few)
    return Prices(*base, per_request=per_request, steps=tuple(steps))


def _level(prices: Prices, tokens: int) -> _Level:
    level = _Level(prices.input, prices.output, prices.cached_input, prices.cache_write)
    for step in prices.steps:
        if tokens > step.above_tokens:
            changed = (step.input, step.output, step.cached_input, step.cache_write)
            level = _Level(*(old if new is None else new for old, new in zip(level, changed, strict=True)))
    return level


def _highest(levels: Sequence[_Level]) -> _Level:
    def cached(name: int) -> int | None:
        if all(level[name] is None for level in levels):
            return None
        return _top([level.input if level[name] is None else level[name] for level in levels])

    return _Level(
        _top([level.input for level in levels]),
        _top([level.output for level in levels]),
        cached(2),
        cached(3),
    )


def _top(prices: Sequence[int | None]) -> int | None:
    known = [price for price in prices if price is not None]
    return max(known) if len(known) == len(prices) else None
