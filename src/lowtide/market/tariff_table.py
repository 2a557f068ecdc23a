"""A tariff as people write it, in TOML or JSON: clock times, weekday names, USD decimal strings."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo

from lowtide.market.offer import Capacity
from lowtide.market.quote import Prices
from lowtide.market.tariff import BILLED, EVERY_DAY, LONGEST_CALL_US, Schedule, Tariff, Window
from lowtide.values.errors import BadValue
from lowtide.values.instants import SECOND_US, micros, parse_instant
from lowtide.values.money import MAX_UNIT_PRICE_NANO, looks_per_token, nano

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MAX_WINDOWS = 64
MAX_SCHEDULES = 32
MAX_HOLIDAYS = 1_000
MAX_CALL_S = 24 * 60 * 60
_PRICE_FIELDS = {
    "input_per_mtok": "input",
    "output_per_mtok": "output",
    "cached_input_per_mtok": "cached_input",
    "cache_write_per_mtok": "cache_write",
    "per_request": "per_request",
}
_CAPACITY_FIELDS = ("concurrency", "requests_per_minute", "tokens_per_minute")
_SCHEDULE_FIELDS = {"zone", "windows", "holidays", "effective_from", "effective_until", "name", "about"}
_TARIFF_FIELDS = _SCHEDULE_FIELDS | {"schedules", "billed", "longest_call_s"}
_MAX_MULTIPLIER = 100
_MAX_CAPACITY = 10**12
_SIX_PLACES = Decimal("0.000001")
_EXACT = Context(prec=20, traps=[Inexact, InvalidOperation])


def tariff_from_table(table: Mapping[str, Any]) -> Tariff:
    """The tariff of a table: `zone` and `windows`, or `zone` and `schedules` that follow each other.

    Each may have `holidays`, `effective_from` and `effective_until`; a schedule that has no zone or holidays of its
    own takes the tariff's. A window has `start` and `end` ("HH:MM"), optionally `days` (names, or ranges such as
    "mon-fri") and `capacity`, and either `multiplier` (a decimal string: "0.45" is 45 % of the base) or `prices` (USD
    decimal strings per million tokens). `billed` is "start" (the default) or "completion", `longest_call_s` (600) how
    long a call may take there. Raises BadValue (`bad_tariff`, `price_unit`, and those of money).
    """
    _known(table, _TARIFF_FIELDS, "a tariff")
    zone = _zone(table.get("zone"))
    whole: dict[str, Any] = {
        "zone": zone.key,
        "holidays": _holidays(table.get("holidays", ())),
        "billed": _billed(table.get("billed", BILLED[0])),
        "longest_call_us": _longest_call(table.get("longest_call_s", LONGEST_CALL_US // SECOND_US)),
    }
    if "schedules" not in table:
        only = _schedule(table, zone, "")
        return Tariff(
            windows=only.windows,
            effective_from=only.effective_from,
            effective_until=only.effective_until,
            **whole,
        )
    both = sorted({"windows", "effective_from", "effective_until"} & set(table))
    if both:
        raise _bad(f"A tariff with schedules has no {both[0]} of its own. Move it into a schedule.")
    schedules = table["schedules"]
    if not isinstance(schedules, list | tuple) or not 0 < len(schedules) <= MAX_SCHEDULES:
        raise _bad(
            f"The tariff's schedules must be a list of 1 to {MAX_SCHEDULES} tables, each with windows."
        )
    return Tariff(
        schedules=tuple(
            _inheriting(entry, zone, f"schedule {number}") for number, entry in enumerate(schedules, start=1)
        ),
        **whole,
    )


def _inheriting(entry: Any, zone: ZoneInfo, where: str) -> Schedule:
    if not isinstance(entry, Mapping):
        raise _bad(f"{where} must be a table with windows.")
    _known(entry, _SCHEDULE_FIELDS, where)
    return _schedule(entry, _zone(entry["zone"]) if "zone" in entry else zone, f" of {where}")


def _schedule(table: Mapping[str, Any], zone: ZoneInfo, where: str) -> Schedule:
    windows = table.get("windows")
    if not isinstance(windows, list | tuple) or not windows:
        raise _bad(
            f"A tariff needs at least one window{where}. Add one with start, end, and multiplier or prices."
        )
    if len(windows) > MAX_WINDOWS:
        raise _bad(f"{len(windows)} windows{where} are more than {MAX_WINDOWS}. Merge them.")
    since = _edge(table.get("effective_from"), "effective_from", zone)
    until = _edge(table.get("effective_until"), "effective_until", zone)
    if since is not None and until is not None and until <= since:
        raise _bad(f"The effective_until{where} must lie after its effective_from.")
    return Schedule(
        windows=tuple(
            _window(entry, f"window {number}{where}") for number, entry in enumerate(windows, start=1)
        ),
        zone=zone.key if "zone" in table else None,
        holidays=_holidays(table["holidays"]) if "holidays" in table else None,
        effective_from=since,
        effective_until=until,
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
    amounts = {_PRICE_FIELDS[name]: _amount(value, name, where) for name, value in table.items()}
    return Prices(
        input=amounts["input"],
        output=amounts["output"],
        cached_input=amounts.get("cached_input"),
        cache_write=amounts.get("cache_write"),
        per_request=amounts.get("per_request", 0),
    )


def multiplier_ppm(value: Any, where: str) -> int:
    """Parts per million of a multiplier such as "0.45"; `where` names it in messages. Raises BadValue (`bad_tariff`)."""
    try:
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise InvalidOperation
        multiplier = Decimal(value)
        if not multiplier.is_finite():
            raise InvalidOperation
    except InvalidOperation:
        raise _bad(f'{where} must be a decimal string, such as "0.45", not {_shown(value)}.') from None
    # The range first: an exponent out of it would fill the memory.
    if 0 <= multiplier <= _MAX_MULTIPLIER:
        try:
            return int(_EXACT.quantize(multiplier, _SIX_PLACES).scaleb(6, _EXACT))
        except Inexact:
            pass
    raise _bad(
        f"{where} is {_shown(value)}. Give a decimal string from 0 to {_MAX_MULTIPLIER}, at most 6 decimals."
    )


def _amount(value: Any, field: str, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise _bad(
            f'The {field} of {where} must be a decimal string of USD, such as "0.30", not {_shown(value)}.'
        )
    if field != "per_request" and looks_per_token(value):
        raise BadValue(
            "price_unit",
            f"The {field} of {where} is {_shown(value)}, which looks like a price per token. Prices are USD per million "
            "tokens: multiply by 1,000,000.",
        )
    amount = nano(value)
    if not 0 <= amount <= MAX_UNIT_PRICE_NANO:
        raise _bad(f"The {field} of {where} is {_shown(value)} USD. Give a price from 0 to 1000 USD.")
    return amount


def _window(entry: Any, where: str) -> Window:
    if not isinstance(entry, Mapping):
        raise _bad(f"{where} must be a table with start, end, and multiplier or prices.")
    _known(entry, {"days", "start", "end", "multiplier", "prices", "capacity"}, where)
    if ("multiplier" in entry) == ("prices" in entry):
        raise _bad(f"{where} must have either a multiplier or prices, not both and not neither.")
    return Window(
        start=_minute(entry.get("start"), f"start of {where}"),
        end=_minute(entry.get("end"), f"end of {where}"),
        weekdays=_weekdays(entry.get("days"), where),
        multiplier_ppm=multiplier_ppm(entry["multiplier"], f"The multiplier of {where}")
        if "multiplier" in entry
        else None,
        prices=prices_from_table(entry["prices"], where) if "prices" in entry else None,
        capacity=_capacity(entry["capacity"], where) if "capacity" in entry else None,
    )


def _capacity(table: Any, where: str) -> Capacity:
    if not isinstance(table, Mapping) or not table:
        raise _bad(f"The capacity of {where} must be a table with {', '.join(_CAPACITY_FIELDS)}.")
    _known(table, set(_CAPACITY_FIELDS), f"the capacity of {where}")
    for name, value in table.items():
        if type(value) is not int or not 0 <= value <= _MAX_CAPACITY:
            raise _bad(
                f"The {name} of {where} must be a whole number, 0 (sold out) or more, not {_shown(value)}."
            )
    return Capacity(**table)


def _billed(value: Any) -> str:
    if value not in BILLED:
        raise _bad(f"The tariff's billed must be one of {', '.join(BILLED)}, not {_shown(value)}.")
    return str(value)


def _longest_call(value: Any) -> int:
    if type(value) is not int or not 1 <= value <= MAX_CALL_S:
        raise _bad(
            f"The tariff's longest_call_s must be whole seconds from 1 to {MAX_CALL_S}, not {_shown(value)}."
        )
    return value * SECOND_US


def _holidays(days: Any) -> frozenset[date]:
    if not isinstance(days, list | tuple) or len(days) > MAX_HOLIDAYS:
        raise _bad(f'The holidays must be a list of at most {MAX_HOLIDAYS} dates, such as ["2026-10-01"].')
    return frozenset(_date(day, "holidays") for day in days)


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
            raise _bad(
                f"{_shown(name)} in the days of {where} is no weekday. Use {', '.join(DAYS)}, or mon-fri."
            )
        begin, length = DAYS.index(first), (DAYS.index(last or first) - DAYS.index(first)) % 7
        found.update((begin + step) % 7 for step in range(length + 1))
    return frozenset(found)


def _minute(value: Any, where: str) -> int:
    try:
        clock = value if isinstance(value, time) else time.fromisoformat(value)
    except (TypeError, ValueError):
        raise _bad(f'The {where} must be a clock time such as "22:00", not {_shown(value)}.') from None
    if clock.second or clock.microsecond or clock.tzinfo is not None:
        raise _bad(
            f'The {where} must be hours and minutes on the tariff\'s clock, such as "22:00", not {_shown(value)}.'
        )
    return clock.hour * 60 + clock.minute


def _zone(name: Any) -> ZoneInfo:
    if name is None:
        raise _bad(
            'The field zone is missing: give the seller\'s clock, such as zone = "Europe/Berlin" or "UTC".'
        )
    try:
        return ZoneInfo(name)
    except (TypeError, ValueError, OSError, KeyError):
        raise _bad(
            f'{_shown(name)} is no IANA time zone. Give zone one such as "Europe/Berlin" or "UTC".'
        ) from None


def _date(value: Any, where: str) -> date:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError):
        raise _bad(f"{_shown(value)} in {where} is no date. Write it as 2026-10-01.") from None


def _edge(value: Any, where: str, zone: ZoneInfo) -> int | None:
    """An instant; a bare date is its midnight on the tariff's clock."""
    if value is None:
        return None
    if isinstance(value, str) and len(value) > len("2026-10-01"):
        return micros(parse_instant(value))
    if isinstance(value, datetime):
        return micros(value)
    try:
        return micros(datetime.combine(_date(value, where), time(), zone).astimezone(UTC))
    except OverflowError:
        raise _bad(f"{_shown(value)} in {where} lies outside the years 1 to 9999.") from None


def _known(table: Mapping[str, Any], names: set[str], where: str) -> None:
    unknown = sorted(set(table) - names)
    if unknown:
        raise _bad(f"{where} has no field {unknown[0]!r}. It may have {', '.join(sorted(names))}.")


def _bad(detail: str) -> BadValue:
    return BadValue("bad_tariff", detail[0].upper() + detail[1:])


def _shown(value: Any) -> str:
    """A value in a message, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
