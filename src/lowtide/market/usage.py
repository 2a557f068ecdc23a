"""Usage of a call, and what it costs at given unit prices."""

from dataclasses import dataclass

from lowtide.market.quote import Prices
from lowtide.values.money import MTOK, ceil_div


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call. `cached` and `cache_write` are part of `input`; hidden reasoning is part of `output`."""

    input: int = 0
    output: int = 0
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0


@dataclass(frozen=True, slots=True)
class FlatPrices:
    """Prices of one call with every gap filled: nano-USD per million tokens."""

    input: int
    output: int
    cached_input: int
    cache_write: int
    per_request: int


def flat_prices(prices: Prices, input_tokens: int) -> FlatPrices:
    """The prices that a call with so many input tokens pays: the last long-context step it exceeds, else the base.

    Raises ValueError where input or output price is unknown.
    """
    if prices.input is None or prices.output is None:
        raise ValueError("an unpriced quote has no charge")
    base_in, base_out, cached, write = prices.input, prices.output, prices.cached_input, prices.cache_write
    for step in prices.steps:
        if input_tokens > step.above_tokens:
            base_in = step.input if step.input is not None else base_in
            base_out = step.output if step.output is not None else base_out
            cached = step.cached_input if step.cached_input is not None else cached
            write = step.cache_write if step.cache_write is not None else write
    return FlatPrices(
        base_in,
        base_out,
        base_in if cached is None else cached,
        base_in if write is None else write,
        prices.per_request,
    )


def charge(prices: Prices, usage: Usage, requests: int = 1) -> int:
    """Nano-USD of a call's usage, rounded up once (MARKET.md section 2)."""
    flat = flat_prices(prices, usage.input)
    plain = max(0, usage.input - usage.cached - usage.cache_write)
    tokens = (
        plain * flat.input
        + usage.cached * flat.cached_input
        + usage.cache_write * flat.cache_write
        + usage.output * flat.output
    )
    return requests * flat.per_request + ceil_div(tokens, MTOK)
