"""Windows of the UTC day as OpenRouter writes them: `utc_start` and `utc_end`, half-open, perhaps past midnight."""

import re

from lowtide.feeds.formats.fields import Node, shown
from lowtide.feeds.formats.levels import DAY_MINUTES

_CLOCK = re.compile(r"(\d{1,2}):?(\d{2})", re.ASCII)


def utc_window(node: Node) -> tuple[int, int] | None:
    """The minutes between which an object holds; None where it holds always. Raises Fault."""
    start, end = _minute(node, "utc_start"), _minute(node, "utc_end")
    if start is not None and end is not None:
        return start, end
    if start is None and end is None:
        return None
    missing = "utc_start" if start is None else "utc_end"
    raise node.fault("missing_field", f"{missing} is missing. Send both ends of the window.", missing)


def _minute(node: Node, name: str) -> int | None:
    """The minute of a clock time: HHMM as a number (1630 is 16:30, 30 is 00:30), or as a text."""
    value = node.get(name)
    if value is None:
        return None
    text = value if isinstance(value, str) else f"{node.count(name):04d}"
    clock = _CLOCK.fullmatch(text)
    hour, minute = (int(clock[1]), int(clock[2])) if clock else (99, 99)
    if minute > 59 or hour * 60 + minute > DAY_MINUTES:
        raise node.fault("bad_time", f"{shown(value)} is no clock time. Send HHMM such as 1630.", name)
    return hour * 60 + minute
