"""What a call of `lowtide backtest` says, checked: durations in slots, places, zones, pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from lowtide.cli.backtest_files import Trace
from lowtide.cli.say import CommandFailed, span
from lowtide.cli.times import duration_s
from lowtide.values.instants import DAY_US, SECOND_US

if TYPE_CHECKING:
    from fractions import Fraction

_MOST_STARTS, _MOST_DECIMALS = 1_000_000, 3


def starts_a_slot(text: str) -> "Fraction":
    """The places of `--capacity`, on average. Raises BadParameter."""
    from fractions import Fraction

    whole, _, part = text.strip().partition(".")
    if (whole + part).isdecimal() and len(part) <= _MOST_DECIMALS:
        found = Fraction(text.strip())
        if 0 < found <= _MOST_STARTS:
            return found
    raise typer.BadParameter(
        f"--capacity {text} is no number of starts a slot: above 0, at most {_MOST_STARTS:,}, with up to "
        f"{_MOST_DECIMALS} decimals, such as 2 or 1.5."
    )


def slots_of(trace: Trace, asked: Sequence[tuple[str, float]]) -> list[int]:
    """The slacks of the call (text and seconds) in slots of a trace. Raises BadParameter."""
    found = []
    for text, seconds in asked:
        slots, rest = divmod(round(seconds * SECOND_US), trace.slot_us)
        if rest or slots < 1:
            raise typer.BadParameter(
                f"--slack {text} is no whole number of slots of {trace.name}, {span(trace.slot_us / SECOND_US)} each."
            )
        found.append(slots)
    if not found:
        raise typer.BadParameter("--slack names no duration. Write such as 2h,24h.")
    return found


def whole_slot(text: str) -> int:
    """`--slot` in µs. Raises BadParameter where it does not divide a day."""
    found = round(duration_s(text) * SECOND_US)
    if found < SECOND_US or DAY_US % found:
        raise typer.BadParameter(f"--slot {text} does not divide a day. Write such as 15m or 1h.")
    return found


def check_zone(zone: str) -> None:
    """Raises BadParameter where there is no such time zone."""
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(zone)
    except (ValueError, OSError, KeyError):
        raise typer.BadParameter(f"{zone!r} is no time zone. Write such as Europe/Brussels.") from None


def check_plot(path: Path | None) -> None:
    """Raises BadParameter or CommandFailed where no such picture can be drawn."""
    from importlib.util import find_spec

    if path is None:
        return
    if path.suffix not in (".svg", ".png"):
        raise typer.BadParameter(f"--plot {path} is neither .svg nor .png.")
    if path.suffix == ".png" and find_spec("matplotlib") is None:
        raise CommandFailed(
            "A .png needs matplotlib: install the extra, `pip install 'lowtide[data]'`, or name an .svg file."
        )
