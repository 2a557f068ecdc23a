"""LiteLLM's `off_peak_pricing`: UTC hours, some only on weekdays of a zone's calendar, with lower prices."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from lowtide.feeds.formats.entries import Path
from lowtide.feeds.formats.fields import Node, shown
from lowtide.feeds.formats.levels import (
    MOST_CONDITIONS,
    Level,
    daily_edges,
    midnights,
    minute_of_day,
    within,
)
from lowtide.market.tariff import EVERY_DAY
from lowtide.market.tariff_table import DAYS
from lowtide.values.instants import instant

_HOURS = re.compile(r"\s*([01]\d|2[0-3]):([0-5]\d)\s*-\s*([01]\d|2[0-3]):([0-5]\d)\s*", re.ASCII)
_WEEKDAY = re.compile(r"(mon|tue|tues|wed|wednes|thu|thur|thurs|fri|sat|satur|sun)(day)?")
UTC = ZoneInfo("UTC")


@dataclass(frozen=True, slots=True)
class Hours:
    """A window of the UTC day in minutes, start inclusive, and the weekdays (0 = Monday) on which it holds."""

    start: int
    end: int
    weekdays: frozenset[int] = EVERY_DAY


@dataclass(frozen=True, slots=True)
class OffPeak:
    """When the off-peak prices hold, and what they replace.

    A weekday is that of the instant itself on the zone's calendar, not of the window's first hour.
    """

    prices: Level
    windows: tuple[Hours, ...]
    zone: ZoneInfo = UTC

    @classmethod
    def of(cls, node: Node, prices: Level) -> "OffPeak":
        """Read the block. Raises Fault (`bad_window`)."""
        windows = list(_windows(node, EVERY_DAY))
        for rule in node.nodes("windows"):
            windows += _windows(rule, _weekdays(rule))
        if not windows or len(windows) > MOST_CONDITIONS:
            raise node.fault("bad_window", f"Send 1 to {MOST_CONDITIONS} windows of hours_utc.")
        return cls(prices, tuple(windows), _zone(node))

    def holds(self, at_us: int) -> bool:
        """Whether an instant (µs UTC) is off-peak."""
        minute, day = minute_of_day(at_us), instant(at_us).astimezone(self.zone).weekday()
        return any(day in hours.weekdays and within(hours.start, hours.end, minute) for hours in self.windows)

    def edges(self, start_us: int, end_us: int) -> Iterator[int]:
        """Every instant of the range at which that may change."""
        minutes = [minute for hours in self.windows for minute in (hours.start, hours.end)]
        yield from daily_edges(minutes, start_us, end_us)
        yield from midnights(self.zone, start_us, end_us)


def _windows(node: Node, weekdays: frozenset[int]) -> Iterator[Hours]:
    value = node.get("hours_utc")
    found: list[tuple[Any, Path]] = (
        [(value, (*node.path, "hours_utc"))] if isinstance(value, str) else node.items("hours_utc")
    )
    for text, path in found:
        hours = _HOURS.fullmatch(text) if isinstance(text, str) else None
        if hours is None:
            raise Node({}, path).fault(
                "bad_window", f'{shown(text)} is no window of hours. Send one such as "16:30-00:30".'
            )
        start_hour, start_minute, end_hour, end_minute = map(int, hours.groups())
        yield Hours(start_hour * 60 + start_minute, end_hour * 60 + end_minute, weekdays)


def _weekdays(rule: Node) -> frozenset[int]:
    if rule.get("weekdays") is None:
        return EVERY_DAY
    found = set()
    for day, path in rule.items("weekdays"):
        name = _WEEKDAY.fullmatch(day.strip().lower()) if isinstance(day, str) else None
        if name is not None:
            found.add(DAYS.index(name[1][:3]))
        elif isinstance(day, int) and not isinstance(day, bool) and 1 <= day <= 7:
            found.add(day - 1)
        else:
            raise Node({}, path).fault(
                "bad_window", f"{shown(day)} is no weekday. Send 1 (Monday) to 7, or names such as mon."
            )
    return frozenset(found)


def _zone(node: Node) -> ZoneInfo:
    name = node.text("weekday_timezone").strip()
    try:
        return ZoneInfo(name) if name else UTC
    except (ValueError, OSError, KeyError):
        raise node.fault(
            "bad_window",
            f"{shown(name)} is no IANA time zone. Send one such as Asia/Shanghai.",
            "weekday_timezone",
        ) from None
