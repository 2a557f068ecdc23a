"""What an offer costs, in one number that a forecast can follow: the price of a call of usual size."""

from lowtide.market.price_history import UnitPrices
from lowtide.values.money import MTOK, ceil_div

INPUT_TOKENS, OUTPUT_TOKENS = 1_000, 500
"""Of the reference call; below any long-context step."""


def reference_nano(prices: UnitPrices) -> int:
    """Nano-USD of the reference call, rounded up once."""
    return prices.per_request + ceil_div(INPUT_TOKENS * prices.input + OUTPUT_TOKENS * prices.output, MTOK)
