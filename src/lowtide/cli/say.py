"""What people read: plain lines, tables of at most 100 columns, times in UTC, money as the exact string."""

import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import Any

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


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> None:
    """A table without frame. Ids and times are never broken over lines; columns named in `right` stand to the right."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    width = min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns) if sys.stdout.isatty() else WIDTH
    found = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in columns:
        whole = name == "id" or name in _TIMES
        found.add_column(
            Text(name), justify="right" if name in right else "left", no_wrap=whole, overflow="fold"
        )
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
