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

from lowtide.cli.backtest_call import check_plot, check_zone, slots_of, starts_a_slot, whole_slot
from lowtide.cli.backtest_files import Trace, read_trace, read_workload, told
from lowtide.cli.backtest_log import AS_POSTED, Wanted, rows_of_log, wanted
from lowtide.cli.backtest_text import show, tell_empty, tell_load
from lowtide.cli.options import DEFAULT_URL, Key, Url
from lowtide.cli.say import CommandFailed, span
from lowtide.cli.service import Service
from lowtide.cli.times import duration_s
from lowtide.values.instants import SECOND_US

if TYPE_CHECKING:
    from collections.abc import Callable
    from fractions import Fraction

    from lowtide.market.deferral.backtest import Row, Tasks
    from lowtide.market.deferral.series import Series

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
        list[str] | None,
        typer.Option(
            "--policy", help="Names, or all. [default: mixture, the market's own; with --capacity plan]"
        ),
    ] = None,
    posted: Annotated[str, typer.Option(help="How far ahead prices are published, such as 24h.")] = "0h",
    zone: Annotated[str, typer.Option(help="Whose hours and weekdays prices follow.")] = "UTC",
    slot: Annotated[_Text, typer.Option(help="Length of a slot. [default: the commonest step]")] = None,
    capacity: Annotated[
        _Text,
        typer.Option(
            help="At most so many tasks start in a slot; 1.5: one and two in turn. What is held is planned together."
        ),
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

    Example: lowtide backtest --prices prices.csv.gz --capacity 1.5 --posted 24h

    Example: lowtide backtest --from-log --since -7d --slack as-posted,24h
    """
    # The matrices are small: threads only cost time. Before NumPy is imported.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    most = None if capacity is None else starts_a_slot(capacity)
    files, names = _sorted_out(prices or [], policy or [], more or [], most is not None, from_log)
    check_plot(plot)
    check_zone(zone)
    slot_us = None if slot is None else whole_slot(slot)
    if from_log:
        if capacity is not None or workload is not None or plot is not None:
            raise typer.BadParameter("--from-log takes no --capacity, --workload or --plot.")
        replayed = wanted(since, until, slot_us, posted, zone)
        _from_log(Service(url, key), replayed, names, slack or AS_POSTED, as_json)
        return
    if since is not None or until is not None:
        raise typer.BadParameter("--since and --until need --from-log.")
    asked = [(text.strip(), duration_s(text)) for text in (slack or _USUAL_SLACKS).split(",") if text.strip()]
    ahead_us = round(duration_s(posted) * SECOND_US)
    traces = [read_trace(path, slot_us) for path in files]
    rows = _rows(traces, names, asked, ahead_us, zone, most, workload, brief=as_json)
    tell_empty(rows)
    if plot is not None:
        from lowtide.cli.backtest_plot import draw

        draw(rows, plot)
    if as_json:
        typer.echo(orjson.dumps({"rows": [asdict(row) for row in rows]}))
    else:
        show(rows, most)


def _rows(
    traces: Sequence[Trace],
    names: Sequence[str],
    asked: Sequence[tuple[str, float]],
    ahead_us: int,
    zone: str,
    most: "Fraction | None",
    workload: Path | None,
    *,
    brief: bool,
) -> "list[Row]":
    """All traces replayed; what was read is told first, where `brief` only what had to be mended."""
    slots = [slots_of(trace, asked) for trace in traces]
    jobs = []
    for trace in traces:
        if trace.mended or not brief:
            typer.echo(told(trace), err=True)
        jobs.append(_workload(trace, names, zone, most, workload))
    rows: list[Row] = []
    with _progress(_work(traces, names, len(asked))) as advance:
        for trace, slacks, (series, tasks) in zip(traces, slots, jobs, strict=True):
            posted_slots = ahead_us // trace.slot_us
            rows += _replay(trace.name, series, tasks, names, slacks, posted_slots, most, advance)
    return rows


def _from_log(service: Service, asked: Wanted, names: Sequence[str], slack: str, as_json: bool) -> None:
    slacks = [text.strip() for text in slack.split(",") if text.strip()]
    found = rows_of_log(
        service, asked, names, [(text, 0.0 if text == AS_POSTED else duration_s(text)) for text in slacks]
    )
    if as_json:
        typer.echo(orjson.dumps({"rows": [{**asdict(row), "slack": text} for text, row in found]}))
    else:
        show([row for _, row in found], None, [text for text, _ in found])


def _workload(
    trace: Trace, names: Sequence[str], zone: str, capacity: "Fraction | None", workload: Path | None
) -> "tuple[Series, Tasks]":
    """The trace with its clock and the tasks that come; on stderr what is left out and what multiple a capacity is."""
    from lowtide.market.deferral.backtest import one_a_slot, usable, warm_up

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
    if capacity is not None:
        tell_load(trace.name, tasks.slot[tasks.slot >= warm_up(series)], capacity)
    return series, tasks


def _replay(
    trace: str,
    series: "Series",
    tasks: "Tasks",
    names: Sequence[str],
    slacks: Sequence[int],
    posted: int,
    capacity: "Fraction | None",
    advance: "Advance",
) -> "list[Row]":
    from lowtide.market.deferral.backtest import PLAN, Case, follow, row_of, values_of
    from lowtide.market.deferral.price_paths import PricePaths

    done, paths = 0, PricePaths(series)
    for track in follow(series, names, slacks):
        if PLAN in names:
            paths.carry_on(track)
        advance(track.slots - done)
        done = track.slots
    rows = []
    for slack in slacks:
        case = Case.of(trace, series, tasks, slack, capacity)
        for name in names:
            if name == PLAN:
                start = case.planned(paths.ahead(posted), advance)
            else:
                start = case.starts(values_of(series, track, name, slack, posted))
            rows.append(row_of(case, name, start))
    return rows


def _work(traces: Sequence[Trace], names: Sequence[str], slacks: int) -> int:
    """Slots to go through: once to follow the prices, and once more for each slack that is planned."""
    from lowtide.market.deferral.backtest import PLAN

    return sum(len(trace.prices) for trace in traces) * (1 + slacks * (PLAN in names))


def _sorted_out(
    files: list[Path], policies: list[str], more: list[str], limited: bool, from_log: bool = False
) -> tuple[list[Path], list[str]]:
    """Files and policies of a call: a shell writes `--prices *.csv` as one value and arguments after it."""
    from lowtide.market.deferral.backtest import MIXTURE, NAMES, PLAN

    known = (PLAN, *NAMES) if limited else NAMES
    named = [part.strip() for text in policies for part in text.split(",") if part.strip()]
    for text in more:
        if text in ("all", PLAN) or text in known:
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
        if name == PLAN and not limited:
            raise typer.BadParameter(
                f"{PLAN} shares a limit between tasks: give --capacity, or leave it out."
            )
        if name != "all" and name not in known:
            raise typer.BadParameter(f"{name!r} is no policy. There are: all, {', '.join(known)}.")
    if "all" in named:
        return files, list(known)
    return files, list(dict.fromkeys(named or [PLAN if limited else MIXTURE]))


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
