"""What `lowtide backtest` prints for people."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from lowtide.cli.say import NOTHING, span, table

if TYPE_CHECKING:
    from fractions import Fraction

    from lowtide.market.deferral.backtest import Row
    from lowtide.market.deferral.series import Ints


def tell_load(trace: str, slot: "Ints", capacity: "Fraction") -> None:
    """On stderr: the capacity as a multiple of the mean arrivals (`slot`), from the first to the last of them."""
    if len(slot):
        mean = len(slot) / int(slot[-1] - slot[0] + 1)
        load, tasks = float(capacity) / mean, "task" if mean == 1 else "tasks"
        typer.echo(
            f"{trace}: {mean:,.3g} {tasks} a slot on average, so the capacity is ×{load:.2f} of the load.",
            err=True,
        )


def show(rows: "Sequence[Row]", capacity: "Fraction | None", slacks: Sequence[str] | None = None) -> None:
    """A table with a row a policy, slack and trace; what a dash means, means over traces, and what a capacity does."""
    table(
        ("trace", "slack", "policy", "tasks", "÷ now", "÷ best", "captured", "worst", "mean wait", "missed"),
        [
            (
                row.trace,
                span(row.slack_s) if slacks is None else slacks[number],
                row.policy,
                f"{row.tasks:,}",
                _ratio(row.vs_now),
                _ratio(row.vs_clairvoyant),
                _ratio(row.captured),
                _ratio(row.worst_vs_now),
                NOTHING if row.mean_wait_s is None else span(round(row.mean_wait_s)),
                f"{row.misses:,}",
            )
            for number, row in enumerate(rows)
        ],
        right=("tasks", "÷ now", "÷ best", "captured", "worst", "mean wait", "missed"),
        width=140,
    )
    _tell_dashes(rows)
    _show_means(rows)
    if capacity is not None:
        typer.echo(
            f"\nAt most {float(capacity):,g} starts a slot. `plan` plans all that is held together with what is expected to "
            "come; by other policies each waits by its own values. Earliest deadlines first, and whoever must start so "
            "that the rest fits starts. ÷ best is to the least cost within the limit, exact where tasks weigh alike and "
            "all can start in time; else to the least without it, a bound."
        )


def _tell_dashes(rows: "Sequence[Row]") -> None:
    """Why a ratio is missing, in one line for each reason."""
    empty = dict.fromkeys(row.trace for row in rows if row.tasks and None in (row.vs_now, row.vs_clairvoyant))
    if empty:
        typer.echo(
            f"\n{NOTHING} under ÷ now or ÷ best: on {', '.join(empty)} running at once or the best costs zero or less in "
            "all, so there is nothing to divide by."
        )
    flat = dict.fromkeys(row.trace for row in rows if row.tasks and row.captured is None)
    if flat:
        typer.echo(f"\n{NOTHING} under captured: on {', '.join(flat)} waiting cannot save anything.")


def _show_means(rows: "Sequence[Row]") -> None:
    if len({row.trace for row in rows}) < 2:
        return
    typer.echo("\nCaptured on average, over the traces where the best saves 1 % at least:")
    slacks, names = (list(dict.fromkeys(getattr(row, key) for row in rows)) for key in ("slack_s", "policy"))
    lines = []
    for name in names:
        shares = [
            [
                row.captured or 0.0
                for row in rows
                if (row.policy, row.slack_s) == (name, slack) and _worth(row)
            ]
            for slack in slacks
        ]
        lines.append((name, *(_ratio(sum(each) / len(each) if each else None) for each in shares)))
    headings = tuple(span(slack) for slack in slacks)
    table(("policy", *headings), lines, right=headings)


def _worth(row: "Row") -> bool:
    """Whether a share of the saving says anything."""
    if row.captured is None or row.vs_now is None:
        return False
    return row.vs_clairvoyant is None or row.vs_now < 0.99 * row.vs_clairvoyant


def tell_empty(rows: "Sequence[Row]") -> None:
    """On stderr: where no task could be counted."""
    for trace, slack_s in dict.fromkeys((row.trace, row.slack_s) for row in rows if not row.tasks):
        typer.echo(
            f"{trace}: no task with a slack of {span(slack_s)} has all of its window after the warm-up. "
            "Give a longer trace or less --slack.",
            err=True,
        )


def _ratio(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.3f}"
