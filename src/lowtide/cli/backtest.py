"""`lowtide backtest`: what deferral would have saved on given prices, policy by policy, against the clairvoyant."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import orjson
import typer

from lowtide.cli.backtest_files import Trace, read_trace, read_workload, told
from lowtide.cli.backtest_log import AS_POSTED, Wanted, rows_of_log, wanted
from lowtide.cli.options import DEFAULT_URL, Key, Url
from lowtide.cli.say import NOTHING, CommandFailed, span, table
from lowtide.cli.service import Service
from lowtide.cli.times import duration_s
from lowtide.values.instants import DAY_US, SECOND_US

if TYPE_CHECKING:
    from collections.abc import Callable

    from lowtide.market.deferral.backtest import Row

    Advance = Callable[[int], None]

_Text = str | None
_USUAL_SLACKS = "2h,6h,12h,24h"


def backtest(
    more: Annotated[
        list[str] | None, typer.Argument(metavar="[FILE|POLICY]…", help="More files or policies.")
    ] = None,
    prices: Annotated[
        list[Path] | None,
        typer.Option("--prices", help="CSV or .csv.gz with ts and price; several may follow."),
    ] = None,
    slack: Annotated[
        _Text,
        typer.Option(
            help="How long a task may wait; several with commas. [default: 2h,6h,12h,24h; with --from-log as-posted]"
        ),
    ] = None,
    policy: Annotated[
        list[str] | None, typer.Option("--policy", help="Names, or all. [default: mixture, the market's own]")
    ] = None,
    posted: Annotated[str, typer.Option(help="How far ahead prices are published, such as 24h.")] = "0h",
    zone: Annotated[str, typer.Option(help="Whose hours and weekdays prices follow.")] = "UTC",
    slot: Annotated[_Text, typer.Option(help="Length of a slot. [default: the commonest step]")] = None,
    capacity: Annotated[
        int | None, typer.Option(min=1, help="At most so many tasks start in a slot.")
    ] = None,
    workload: Annotated[
        Path | None, typer.Option(help="CSV with t_s: tasks come then, not one in every slot.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the captured shares to this .svg or .png.")] = None,
    from_log: Annotated[
        bool,
        typer.Option("--from-log", help="Replay the tasks that a running market served, on its own prices."),
    ] = False,
    since: Annotated[
        _Text, typer.Option(help="With --from-log: arrivals since, a time or -7d. [default: -7d]")
    ] = None,
    until: Annotated[_Text, typer.Option(help="With --from-log: arrivals until. [default: now]")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the rows as JSON.")] = False,
    url: Url = DEFAULT_URL,
    key: Key = None,
) -> None:
    """Replay prices: what waiting would have saved, and what share of the possible that is.

    Example: lowtide backtest --prices prices.csv.gz --slack 2h,24h --policy all
    Example: lowtide backtest --from-log --since -7d --slack as-posted,24h
    """
    # The matrices are small: threads only cost time. Before NumPy is imported.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from lowtide.market.deferral.backtest import NAMES

    files, names = _sorted_out(prices or [], policy or [], more or [], NAMES, from_log)
    _check_plot(plot)
    _check_zone(zone)
    slot_us = None if slot is None else _whole_slot(slot)
    if from_log:
        if capacity is not None or workload is not None or plot is not None:
            raise typer.BadParameter("--from-log takes no --capacity, --workload or --plot.")
        replayed = wanted(since, until, slot_us, posted, zone)
        _from_log(Service(url, key), replayed, names, slack or AS_POSTED, as_json)
        return
    if since is not None or until is not None:
        raise typer.BadParameter("--since and --until need --from-log.")
    slack = slack or _USUAL_SLACKS
    traces = [read_trace(path, slot_us) for path in files]
    asked = [(text.strip(), duration_s(text)) for text in slack.split(",") if text.strip()]
    ahead_us = round(duration_s(posted) * SECOND_US)
    jobs = [(trace, _slots(trace, asked), ahead_us // trace.slot_us) for trace in traces]
    for trace in traces:
        if trace.mended or not as_json:
            typer.echo(told(trace), err=True)
    rows: list[Row] = []
    with _progress(sum(len(trace.prices) for trace in traces)) as advance:
        for trace, slots, ahead in jobs:
            rows += _replay(trace, names, slots, ahead, zone, capacity, workload, advance)
    _tell_empty(rows)
    if plot is not None:
        from lowtide.cli.backtest_plot import draw

        draw(rows, plot)
    if as_json:
        typer.echo(orjson.dumps({"rows": [asdict(row) for row in rows]}))
    else:
        _show(rows, capacity)


def _from_log(service: Service, asked: Wanted, names: Sequence[str], slack: str, as_json: bool) -> None:
    slacks = [text.strip() for text in slack.split(",") if text.strip()]
    found = rows_of_log(
        service, asked, names, [(text, 0.0 if text == AS_POSTED else duration_s(text)) for text in slacks]
    )
    if as_json:
        typer.echo(orjson.dumps({"rows": [{**asdict(row), "slack": text} for text, row in found]}))
    else:
        _show([row for _, row in found], None, [text for text, _ in found])


def _replay(
    trace: Trace,
    names: Sequence[str],
    slacks: Sequence[int],
    posted: int,
    zone: str,
    capacity: int | None,
    workload: Path | None,
    advance: "Advance",
) -> "list[Row]":
    from lowtide.market.deferral.backtest import follow, judge, one_a_slot, usable, values_of, warm_up

    series = trace.series(zone)
    unfit = [name for name in names if not usable(name, series)]
    if unfit:
        raise CommandFailed(
            f"{unfit[0]} needs slots that divide an hour; {trace.name} has one every {span(trace.slot_us / SECOND_US)}. "
            "Leave it out; the mixture does without it."
        )
    tasks = one_a_slot(series)
    if workload is not None:
        tasks, after = read_workload(workload, series, warm_up(series))
        if after:
            typer.echo(
                f"{after:,} tasks of {workload} come after the end of {trace.name}: left out.", err=True
            )
    done = 0
    for track in follow(series, names, slacks):
        advance(track.slots - done)
        done = track.slots
    return [
        judge(trace.name, series, values_of(series, track, name, slack, posted), name, tasks, capacity)
        for slack in slacks
        for name in names
    ]


def _show(rows: "Sequence[Row]", capacity: int | None, slacks: Sequence[str] | None = None) -> None:
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
    _show_means(rows)
    if capacity is not None:
        typer.echo(
            f"\nAt most {capacity:,} starts a slot: earliest deadlines first, forced where what waits could not start in "
            "time else, by the policy's values otherwise; arrivals to come are not reckoned with. The best is exact "
            "within the limit where tasks weigh alike and all can start in time; else it is the best without it, a bound."
        )


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


def _tell_empty(rows: "Sequence[Row]") -> None:
    for trace, slack_s in dict.fromkeys((row.trace, row.slack_s) for row in rows if not row.tasks):
        typer.echo(
            f"{trace}: no task with a slack of {span(slack_s)} has all of its window after the warm-up. "
            "Give a longer trace or less --slack.",
            err=True,
        )


def _ratio(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.3f}"


def _sorted_out(
    files: list[Path], policies: list[str], more: list[str], known: Sequence[str], from_log: bool = False
) -> tuple[list[Path], list[str]]:
    """Files and policies of a call: a shell writes `--prices *.csv` as one value and arguments after it."""
    named = [part.strip() for text in policies for part in text.split(",") if part.strip()]
    for text in more:
        if text == "all" or text in known:
            named.append(text)
        else:
            files = [*files, Path(text)]
    if from_log and files:
        raise typer.BadParameter(f"--from-log has the market's own prices: leave {files[0]} out.")
    if not files and not from_log:
        raise typer.BadParameter(
            "Give --prices FILE, a CSV file with the columns ts and price; or --from-log for a running market's own."
        )
    for name in named:
        if name != "all" and name not in known:
            raise typer.BadParameter(f"{name!r} is no policy. There are: all, {', '.join(known)}.")
    return files, list(known) if "all" in named else list(dict.fromkeys(named or ["mixture"]))


def _slots(trace: Trace, asked: Sequence[tuple[str, float]]) -> list[int]:
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


def _whole_slot(text: str) -> int:
    found = round(duration_s(text) * SECOND_US)
    if found < SECOND_US or DAY_US % found:
        raise typer.BadParameter(f"--slot {text} does not divide a day. Write such as 15m or 1h.")
    return found


def _check_zone(zone: str) -> None:
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(zone)
    except (ValueError, OSError, KeyError):
        raise typer.BadParameter(f"{zone!r} is no time zone. Write such as Europe/Brussels.") from None


def _check_plot(path: Path | None) -> None:
    from importlib.util import find_spec

    if path is None:
        return
    if path.suffix not in (".svg", ".png"):
        raise typer.BadParameter(f"--plot {path} is neither .svg nor .png.")
    if path.suffix == ".png" and find_spec("matplotlib") is None:
        raise CommandFailed(
            "A .png needs matplotlib: install the extra, `pip install 'lowtide[data]'`, or name an .svg file."
        )


@contextmanager
def _progress(total: int) -> "Iterator[Advance]":
    if not sys.stderr.isatty():
        yield lambda slots: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("replaying"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        job = bar.add_task("", total=total)
        yield lambda slots: bar.advance(job, slots)
