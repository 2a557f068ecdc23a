"""A tariff as people write it, in TOML or JSON: clock times, weekday names, USD decimal strings."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from lowtide.market.quote import Prices
from lowtide.market.tariff import EVERY_DAY, Tariff, Window
from lowtide.values.errors import BadValue
from lowtide.values.instants import micros, parse_instant
from lowtide.values.money import MAX_UNIT_PRICE_NANO, nano

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_PRICE_FIELDS = {
    "input_per_mtok": "input",
    "output_per_mtok": "output",
    "cached_input_per_mtok": "cached_input",
    "cache_write_per_mtok": "cache_write",
    "per_request": "per_request",
}
_MAX_MULTIPLIER = 100


def tariff_from_table(table: Mapping[str, Any]) -> Tariff:
    """The tariff of a table: `zone`, `windows`; optionally `holidays`, `effective_from`, `effective_until`.

    A window has `start` and `end` ("HH:MM"), optionally `days` (names, or ranges such as "mon-fri"), and
    either `multiplier` (a decimal string: "0.45" is 45 % of the base) or `prices` (USD decimal strings per
    million tokens). Raises BadValue (`bad_tariff`, and those of money).
    """
    _known(
        table,
        {"zone", "windows", "holidays", "effective_from", "effective_until", "name", "about"},
        "a tariff",
    )
    zone = _zone(table.get("zone"))
    windows = table.get("windows")
    if not isinstance(windows, list | tuple) or not windows:
        raise _bad("A tariff needs at least one window. Add one with start, end, and multiplier or prices.")
    holidays = table.get("holidays", ())
    if not isinstance(holidays, list | tuple):
        raise _bad('holidays must be a list of dates, such as ["2026-10-01"].')
    return Tariff(
        zone=zone.key,
        windows=tuple(_window(entry, number) for number, entry in enumerate(windows, start=1)),
        holidays=frozenset(_date(day, "holidays") for day in holidays),
        effective_from=_edge(table.get("effective_from"), "effective_from", zone),
        effective_until=_edge(table.get("effective_until"), "effective_until", zone),
    )


def prices_from_table(table: Any, where: str) -> Prices:
    """Prices of a table of USD decimal strings: input_per_mtok, output_per_mtok, …, per_request.

    `where` names the place in messages. Raises BadValue (`bad_tariff`, and those of money).
    """
    if not isinstance(table, Mapping):
        raise _bad(f"The prices of {where} must be a table with input_per_mtok and output_per_mtok, in USD.")
    _known(table, set(_PRICE_FIELDS), f"the prices of {where}")
    for needed in ("input_per_mtok", "output_per_mtok"):
        if needed not in table:
            raise _bad(f"The prices of {where} lack {needed}. A price that is not known cannot be traded.")
    amounts = {_PRICE_FIELDS[name]: _amount(value, f"{name} of {where}") for name, value in table.items()}
    return Prices(
        input=amounts["input"],
        output=amounts["output"],
        cached_input=amounts.get("cached_input"),
        cache_write=amounts.get("cache_write"),
        per_request=amounts.get("per_request", 0),
    )


def _amount(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise _bad(f'{where} must be a decimal string of USD, such as "0.30", not {value!r}.')
    amount = nano(value)
    if not 0 <= amount <= MAX_UNIT_PRICE_NANO:
        raise _bad(f"{where} is {value} USD. Give a price from 0 to 1000 USD.")
    return amount


def _window(entry: Any, number: int) -> Window:
    where = f"window {number}"
    if not isinstance(entry, Mapping):
        raise _bad(f"{where} must be a table with start, end, and multiplier or prices.")
    _known(entry, {"days", "start", "end", "multiplier", "prices"}, where)
    if ("multiplier" in entry) == ("prices" in entry):
        raise _bad(f"{where} must have either a multiplier or prices, not both and not neither.")
    return Window(
        start=_minute(entry.get("start"), f"start of {where}"),
        end=_minute(entry.get("end"), f"end of {where}"),
        weekdays=_weekdays(entry.get("days"), where),
        multiplier_ppm=_multiplier(entry["multiplier"], where) if "multiplier" in entry else None,
        prices=prices_from_table(entry["prices"], where) if "prices" in entry else None,
    )


def _multiplier(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise _bad(f'The multiplier of {where} must be a decimal string, such as "0.45", not {value!r}.')
    try:
        scaled = Decimal(value) * 1_000_000
    except ArithmeticError:
        raise _bad(
            f'The multiplier of {where} must be a decimal string, such as "0.45", not {value!r}.'
        ) from None
    if not scaled.is_finite() or scaled != int(scaled) or not 0 <= scaled <= _MAX_MULTIPLIER * 1_000_000:
        raise _bad(
            f"The multiplier of {where} is {value}. Give one from 0 to {_MAX_MULTIPLIER}, at most 6 decimals."
        )
    return int(scaled)


def _weekdays(days: Any, where: str) -> frozenset[int]:
    if days is None:
        return EVERY_DAY
    names = [days] if isinstance(days, str) else days
    if not isinstance(names, list | tuple) or not names:
        raise _bad(f'days of {where} must be names such as ["mon-fri"] or ["sat", "sun"].')
    found: set[int] = set()
    for name in names:
        first, _, last = str(name).strip().lower().partition("-")
        if first not in DAYS or (last or first) not in DAYS:
            raise _bad(f"{name!r} in the days of {where} is no weekday. Use {', '.join(DAYS)}, or mon-fri.")
        begin, length = DAYS.index(first), (DAYS.index(last or first) - DAYS.index(first)) % 7
        found.update((begin + step) % 7 for step in range(length + 1))
    return frozenset(found)


def _minute(value: Any, where: str) -> int:
    try:
        clock = value if isinstance(value, time) else time.fromisoformat(value)
    except (TypeError, ValueError):
        raise _bad(f'The {where} must be a clock time such as "22:00", not {value!r}.') from None
    if clock.second or clock.microsecond or clock.tzinfo is not None:
        raise _bad(
            f'The {where} must be hours and minutes on the tariff\'s clock, such as "22:00", not {value!r}.'
        )
    return clock.hour * 60 + clock.minute


def _zone(name: Any) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (TypeError, ValueError, OSError, KeyError):
        raise _bad(
            f'{name!r} is no IANA time zone. Give zone one such as "Europe/Berlin" or "UTC".'
        ) from None


def _date(value: Any, where: str) -> date:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError):
        raise _bad(f"{value!r} in {where} is no date. Write it as 2026-10-01.") from None


def _edge(value: Any, where: str, zone: ZoneInfo) -> int | None:
    """An instant; a bare date is its midnight on the tariff's clock."""
    if value is None:
        return None
    if isinstance(value, str) and len(value) > len("2026-10-01"):
        return micros(parse_instant(value))
    if isinstance(value, datetime):
        return micros(value)
    return micros(datetime.combine(_date(value, where), time(), zone).astimezone(UTC))


def _known(table: Mapping[str, Any], names: set[str], where: str) -> None:
    unknown = sorted(set(table) - names)
    if unknown:
        raise _bad(f"{where} has no field {unknown[0]!r}. It may have {', '.join(sorted(names))}.")


def _bad(detail: str) -> BadValue:
    return BadValue("bad_tariff", detail[0].upper() + detail[1:])
