"""Durations and moments as people type them."""

import re
from datetime import UTC, datetime, timedelta

import typer

from lowtide.values.errors import BadValue
from lowtide.values.instants import parse_instant, rfc3339

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd]?)")


def duration_s(text: str) -> float:
    """Seconds of `90`, `90s`, `15m`, `2h` or `1d`. A wrong call otherwise."""
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise typer.BadParameter(f"{text!r} is no duration. Write one such as 90s, 15m, 2h or 1d.")
    return float(found[1]) * _UNITS[found[2]]


def moment(text: str) -> str:
    """RFC 3339 in UTC of `now`, `+10s` from now on, `-7d` before, or a time with its zone. A wrong call otherwise."""
    text = text.strip()
    if text == "now":
        return rfc3339(datetime.now(UTC))
    if text.startswith(("+", "-")):
        away = timedelta(seconds=duration_s(text[1:]))
        return rfc3339(datetime.now(UTC) + (away if text.startswith("+") else -away))
    try:
        return rfc3339(parse_instant(text))
    except BadValue as fault:
        raise typer.BadParameter(f"{fault.detail} Or from now on: +10s, +2h; or before: -7d.") from None
