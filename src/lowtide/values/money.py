"""Money: integer nano-USD inside, decimal strings in USD at the edge. Never a float."""

from decimal import Context, Decimal, Inexact, InvalidOperation

from lowtide.values.errors import BadMoney

NANO = 1_000_000_000
_EXACT = Context(prec=40, traps=[Inexact])
_ONE_NANO = Decimal("1e-9")
MTOK = 1_000_000
MAX_UNIT_PRICE_NANO = 1_000 * NANO
"""The dearest unit price taken: $1,000 per million tokens (MARKET.md section 2)."""
LEAST_UNIT_PRICE_NANO = NANO // 10_000
"""Below $0.0001 per million tokens, and not 0, a price is one per token that was sent as one per million."""
MAX_TASK_NANO = 1_000 * NANO
MAX_TOKENS = 2**21


def nano(usd: str | int | Decimal) -> int:
    """Nano-USD of a USD amount, exactly.

    Raises BadMoney (`not_a_number`, `too_precise`) where it is no finite decimal or finer than one nano-USD.
    """
    try:
        amount = Decimal(usd)
    except InvalidOperation:
        raise BadMoney(
            "not_a_number", f'{usd!r} is not a decimal number of USD. Send a string such as "0.25".'
        ) from None
    if not amount.is_finite():
        raise BadMoney("not_a_number", f'{usd!r} is not a finite number. Send a string such as "0.25".')
    if abs(amount) > 10**15:
        raise BadMoney("out_of_range", f"{usd!r} USD is beyond anything this market trades.")
    try:
        return int(_EXACT.quantize(amount, _ONE_NANO).scaleb(9, _EXACT))
    except Inexact:
        raise BadMoney(
            "too_precise", f"{usd!r} USD is finer than one nano-USD. Send at most 9 decimals."
        ) from None


def usd(amount_nano: int) -> str:
    """The USD decimal string of nano-USD, exact, without trailing zeros: 1_500_000_000 gives "1.5"."""
    sign = "-" if amount_nano < 0 else ""
    whole, part = divmod(abs(amount_nano), NANO)
    return f"{sign}{whole}.{part:09d}".rstrip("0").rstrip(".")


def ceil_div(numerator: int, denominator: int) -> int:
    """The quotient rounded up."""
    return -(-numerator // denominator)


def looks_per_token(usd: str | int | Decimal) -> bool:
    """Whether a price per million tokens is so small that it must be one per token; False for what is no number."""
    try:
        amount = Decimal(usd)
    except InvalidOperation:
        return False
    return amount.is_finite() and 0 < amount < Decimal(LEAST_UNIT_PRICE_NANO) / NANO
