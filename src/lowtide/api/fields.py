"""Field types of the contract: money and prices as decimal strings, instants in RFC 3339, ratios as numbers."""

import math
import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from lowtide.values.errors import BadValue
from lowtide.values.instants import micros, parse_instant
from lowtide.values.money import LEAST_UNIT_PRICE_NANO, MAX_TASK_NANO, MAX_UNIT_PRICE_NANO, nano

MAX_BALANCE_NANO = 10**18
MAX_SEQUENCE = 2**52
"""Beyond 2^53 JSON numbers are not exact everywhere; half of them are left for those that the market gives."""
LAST_INSTANT_US = 7_258_118_400_000_000
"""2200-01-01: later instants are mistakes, and beyond 2^53 µs no record could hold them."""
_DECIMAL = re.compile(r"[+-]?\d{0,30}(\.\d{0,30})?([eE][+-]?\d{1,3})?", re.ASCII)
PRINTABLE = r"^[\x21-\x7e]+$"
"""What names are made of: ASCII without spaces."""
_AMOUNT = r"^\d+(\.\d{1,9})?$"


class Body(BaseModel):
    """A native body: strict, unknown fields refused."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


def _decimal(value: Any, code: str, example: str) -> int:
    if isinstance(value, float) and not math.isfinite(value):
        raise PydanticCustomError(
            "not_a_number", 'Not a number. Send a decimal string such as "{example}".', {"example": example}
        )
    if not isinstance(value, str):
        raise PydanticCustomError(
            "not_a_decimal_string",
            'Money is a decimal string in USD. Send a string such as "{example}".',
            {"example": example},
        )
    if not _DECIMAL.fullmatch(value):
        raise _custom("not_a_number", f'Not a decimal number. Send a string such as "{example}".')
    try:
        amount = nano(value)
    except BadValue as fault:
        raise _custom(fault.code, fault.detail) from None
    if amount < 0:
        raise _custom(code, f'{value} is negative. Send 0 or more, such as "{example}".')
    return amount


def _unit_price(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, str):
        try:
            small = nano(value) if len(value) < 12 else None
        except BadValue:
            small = None
        if small is None and _looks_per_token(value):
            raise _custom(
                "price_unit",
                f"{value} looks like a price per token. Prices are USD per million tokens: multiply by "
                "1,000,000.",
            )
    amount = _decimal(value, "negative_price", "0.25")
    if amount > MAX_UNIT_PRICE_NANO:
        raise _custom(
            "price_unit", f"{value} is above $1,000 per million tokens. Prices are USD per million tokens."
        )
    if 0 < amount < LEAST_UNIT_PRICE_NANO:
        raise _custom(
            "price_unit",
            f"{value} looks like a price per token. Prices are USD per million tokens: multiply by "
            "1,000,000.",
        )
    return amount


def _looks_per_token(value: str) -> bool:
    try:
        return 0 < float(value) < 0.0001
    except ValueError:
        return False


def _request_price(value: Any) -> int:
    amount = _decimal(value, "negative_price", "0.01")
    if amount > MAX_TASK_NANO:
        raise _custom("price_unit", f"{value} is above $1,000 per request.")
    return amount


def _money(value: Any) -> int | None:
    if value is None:
        return None
    amount = _decimal(value, "negative_amount", "0.10")
    if amount > MAX_TASK_NANO:
        raise _custom("out_of_range", f"{value} is above $1,000, the most that one task may cost.")
    return amount


def _balance(value: Any) -> int | None:
    if value is None:
        return None
    amount = _decimal(value, "negative_amount", "100")
    if amount > MAX_BALANCE_NANO:
        raise _custom("out_of_range", f"{value} is above $1,000,000,000, the most that an account may have.")
    return amount


def _instant(value: Any) -> int | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise _custom("bad_time", "A time is an RFC 3339 string in UTC, such as 2026-11-24T06:00:00Z.")
    if len(value) > 64:
        raise _custom("bad_time", "Too long for a time. Send RFC 3339, such as 2026-11-24T06:00:00Z.")
    try:
        at = micros(parse_instant(value))
    except BadValue as fault:
        raise _custom(fault.code, fault.detail) from None
    if not 0 <= at < LAST_INSTANT_US:
        raise _custom("out_of_range", f"{value} lies outside the years 1970 to 2199.")
    return at


def _fraction(value: Any) -> Any:
    """A number, or the decimal string that the configuration has for it."""
    if not isinstance(value, str):
        return value
    if len(value) > 32 or not _DECIMAL.fullmatch(value) or not any(map(str.isdigit, value)):
        raise _custom("not_a_number", 'Not a decimal number. Send a string such as "0.15", or a number.')
    return float(value)


def _sequence(value: Any) -> Any:
    # An integer beyond 64 bits is read as a float.
    if isinstance(value, int | float) and not isinstance(value, bool) and not 0 <= value <= MAX_SEQUENCE:
        raise _custom(
            "out_of_range", f"A sequence lies between 0 and {MAX_SEQUENCE}. Send one in that range."
        )
    return value


def _custom(code: str, text: str) -> PydanticCustomError:
    return PydanticCustomError(code, "{text}", {"text": text})


def _string(
    check: Callable[[Any], Any], description: str, example: str, pattern: str | None = _AMOUNT
) -> tuple[Any, Any]:
    schema: dict[str, Any] = {"type": "string", "description": description, "examples": [example]}
    if pattern:
        schema["pattern"] = pattern
    else:
        schema["format"] = "date-time"
    return BeforeValidator(check), WithJsonSchema(schema)


UnitPrice = Annotated[int, *_string(_unit_price, "USD per million tokens, a decimal string", "0.25")]
RequestPrice = Annotated[int, *_string(_request_price, "USD per request, a decimal string", "0.001")]
Usd = Annotated[int, *_string(_money, "USD, a decimal string", "0.10")]
Balance = Annotated[int, *_string(_balance, "USD, a decimal string", "100")]
Instant = Annotated[int, *_string(_instant, "RFC 3339, UTC, with Z", "2026-11-24T06:00:00Z", None)]
Ratio = Annotated[float, Field(ge=0, le=1, description="between 0 and 1", examples=[0.92])]
Fraction = Annotated[
    float,
    BeforeValidator(_fraction),
    Field(ge=0, lt=1),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": 0, "exclusiveMaximum": 1},
                {"type": "string", "pattern": r"^0(\.\d{1,6})?$"},
            ],
            "examples": ["0.15"],
        }
    ),
]
Sequence = Annotated[int, BeforeValidator(_sequence), Field(ge=0, le=MAX_SEQUENCE)]
Name = Annotated[str, Field(min_length=1, max_length=128, pattern=PRINTABLE)]


def ppm(ratio: float) -> int:
    """Parts per million of a ratio, rounded to the nearest."""
    return round(ratio * 1_000_000)
