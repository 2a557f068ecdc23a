"""What people read: plain lines, tables of at most 100 columns, times in UTC, money as the exact string."""

import shutil
import sys
import textwrap
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Literal

import typer

from lowtide.values.errors import MarketError

WIDTH = 100
NOTHING = "–"
_TIMES = ("created", "opened", "from", "until", "expires", "revoked", "start", "last success")


class CommandFailed(MarketError):
    """A command that did not do what was asked; the text is the line to show."""

    code = "command_failed"


def complain(fault: MarketError) -> None:
    """One plain line on stderr, and one for each field at fault that the line does not tell of already."""
    typer.echo(fault.detail, err=True)
    for error in fault.errors:
        if error.message not in fault.detail:
            typer.echo(f"  {error.pointer or 'body'}: {error.message}", err=True)


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    right: Sequence[str] = (),
    *,
    empty: str = "",
    width: int = WIDTH,
) -> None:
    """A table without frame, of at most `width` columns; without rows, that there are none yet and what `empty` says.

    Ids, times and the columns named in `right` stay on one line; others are folded at spaces, never within a word.
    """
    if not rows:
        typer.echo(f"None yet. {empty}".rstrip())
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if sys.stdout.isatty():
        width = min(width, shutil.get_terminal_size((width, 24)).columns)
    found = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in columns:
        whole = name == "id" or name in _TIMES or name in right
        side: Literal["left", "right"] = "right" if name in right else "left"
        found.add_column(Text(name), justify=side, no_wrap=whole, overflow="ellipsis")
    for row in rows:
        found.add_row(*(Text(cell) for cell in row))
    Console(width=width, highlight=False, emoji=False, markup=False).print(found)


def facts(pairs: Sequence[tuple[str, str | None]]) -> None:
    """Names and values, one a line, long ones folded; a value of None is left out."""
    shown = [(name, value) for name, value in pairs if value is not None]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        lines = [
            part
            for line in value.splitlines()
            for part in textwrap.wrap(line, WIDTH - width - 2, break_long_words=False, break_on_hyphens=False)
        ]
        typer.echo(f"{name:<{width}}  " + ("\n" + " " * (width + 2)).join(lines))


def money(amount: Any) -> str:
    """A USD string of the API as people write it."""
    return NOTHING if amount is None else f"-${str(amount)[1:]}" if str(amount)[:1] == "-" else f"${amount}"


def brief(amount: Any, digits: int = 4) -> str:
    """A USD string of the API to so many significant digits, without the sign of the dollar: for wide tables."""
    if amount is None:
        return NOTHING
    exact = Decimal(str(amount))
    places = max(0, digits - 1 - exact.adjusted())
    shown = format(round(exact, places), "f")
    return shown.rstrip("0").rstrip(".") if "." in shown else shown


def span(seconds: float) -> str:
    """A stretch of time in its two largest units: 4.2 s, 33 min 30 s, 2 h 5 min."""
    if seconds < 60:
        return f"{seconds:.2f}".rstrip("0").rstrip(".") + " s"
    units = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
    first = next(number for number, (length, _) in enumerate(units) if seconds >= length)
    parts, left = [], int(seconds)
    for length, name in units[first : first + 2]:
        count, left = divmod(left, length)
        if count:
            parts.append(f"{count} {name}")
    return " ".join(parts)


def when(text: Any) -> str:
    """A time of the API to the second: 2026-11-24 06:00:00Z."""
    return NOTHING if text is None else str(text)[:19].replace("T", " ") + "Z"


def plain(value: Any) -> str:
    """Any other value; a dash where there is none."""
    if value is None or value in ("", []):
        return NOTHING
    if isinstance(value, list):
        return ", ".join(str(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def more(page: dict[str, Any]) -> None:
    """Say where the next page begins."""
    if page.get("next"):
        typer.echo(f"\nThere are more: --after {page['next']}")
