"""Prices of documents as nano-USD, exact or rounded up, with the likely mistake named where the unit is wrong."""

import re
from dataclasses import dataclass
from decimal import MAX_EMAX, MIN_EMIN, ROUND_CEILING, Context, Decimal
from typing import Any

from lowtide.feeds.formats.entries import Fault, Path
from lowtide.feeds.formats.fields import Node, shown
from lowtide.values.money import MAX_TASK_NANO, NANO

_DECIMAL = re.compile(r"[+-]?(\d{1,30}(\.\d{0,30})?|\.\d{1,30})([eE][+-]?\d{1,3})?", re.ASCII)
_UP = Context(prec=60, rounding=ROUND_CEILING, Emax=MAX_EMAX, Emin=MIN_EMIN)
_BOUND = Decimal(10) ** 15
_LEAST_NANO = Decimal("1e-15")
_MOST_PER_REQUEST = Decimal(MAX_TASK_NANO // NANO)


@dataclass(frozen=True, slots=True)
class Unit:
    """What a format's token prices are per: USD × 10^`exponent` is nano-USD per million tokens.

    From `least` (where it is not 0) to `most` USD a price is believed; outside it is a price per something else.
    """

    exponent: int
    least: Decimal
    most: Decimal
    too_small: str
    too_large: str


PER_TOKEN = Unit(
    exponent=15,
    least=Decimal(0),
    most=Decimal("0.001"),
    too_small="",
    too_large="looks like a price per million tokens; this format wants USD per token: divide by 1,000,000.",
)
PER_MTOK = Unit(
    exponent=9,
    least=Decimal("0.0001"),
    most=Decimal(1000),
    too_small="looks like a price per token; this format wants USD per million tokens: multiply by 1,000,000.",
    too_large="is above $1,000 per million tokens; this format wants USD per million tokens.",
)


def unit_price(value: Any, unit: Unit, path: Path) -> int | None:
    """Nano-USD per million tokens of a price, rounded up; None where it is absent or null.

    Raises Fault (`not_a_number`, `negative_price`, `price_unit`).
    """
    if value is None:
        return None
    usd = price_of(value, path)
    if usd > unit.most:
        raise Fault("price_unit", f"{shown(value)} {unit.too_large}", path)
    if 0 < usd < unit.least:
        raise Fault("price_unit", f"{shown(value)} {unit.too_small}", path)
    return _nano_up(usd, unit.exponent)


def request_price(value: Any, path: Path) -> int:
    """Nano-USD per request of a price in USD, rounded up; absent is nothing to pay. Raises Fault as `unit_price`."""
    if value is None:
        return 0
    usd = price_of(value, path)
    if usd > _MOST_PER_REQUEST:
        raise Fault("price_unit", f"{shown(value)} is above $1,000 per request. Send USD per request.", path)
    return _nano_up(usd, 9)


def price_of(value: Any, path: Path) -> Decimal:
    """A price of 0 or more as an exact decimal. Raises Fault (`not_a_number`, `negative_price`)."""
    usd = decimal_of(value, path)
    if usd < 0:
        raise Fault("negative_price", f"{shown(value)} is negative. Send a price of 0 or more.", path)
    return usd


def decimal_of(value: Any, path: Path) -> Decimal:
    """A number or decimal string, exact. Raises Fault (`not_a_number`)."""
    number: Decimal | None = None
    if isinstance(value, str) and _DECIMAL.fullmatch(value.strip()):
        number = Decimal(value.strip())
    elif isinstance(value, Decimal | int) and not isinstance(value, bool):
        number = Decimal(value)
    # A number beyond the bound is no price of anything, and could be too long to compute with.
    if number is not None and -_BOUND <= number <= _BOUND:
        return number
    raise Fault(
        "not_a_number", f'{shown(value)} is not a decimal number of USD. Send one such as "0.25".', path
    )


def require_usd(*nodes: Node | None) -> None:
    """Refuse by name what is priced in another currency. Raises Fault (`unknown_currency`)."""
    for node in nodes:
        currency = None if node is None else node.get("currency")
        if node is not None and currency is not None and str(currency).strip().upper() not in ("USD", ""):
            raise node.fault(
                "unknown_currency", f"Prices in {shown(currency)} are not taken. Send USD.", "currency"
            )


def discounted(usd: Decimal, factor: Decimal) -> Decimal:
    """A price times a factor, exact or rounded up in the sixtieth digit."""
    return _UP.multiply(usd, factor)


def _nano_up(usd: Decimal, exponent: int) -> int:
    # Only now that the bounds hold: an exponent out of range would fill the memory.
    nano = _UP.multiply(usd, Decimal(10) ** exponent)
    return 1 if 0 < nano < _LEAST_NANO else int(nano.to_integral_value(ROUND_CEILING))
