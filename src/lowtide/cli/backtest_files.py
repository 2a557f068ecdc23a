"""Traces of prices and workloads from CSV files, plain or gzipped, put on an even grid; what was mended is said."""

import csv
import gzip
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from lowtide.cli.say import CommandFailed, span
from lowtide.values.errors import BadValue
from lowtide.values.instants import DAY_US, SECOND_US, micros, parse_instant, rfc3339

if TYPE_CHECKING:
    from lowtide.market.deferral.backtest import Tasks
    from lowtide.market.deferral.series import Series

MOST_SLOTS = 1_000_000
MOST = 1e15


@dataclass(frozen=True, slots=True)
class Trace:
    """A file's prices, one a slot, and in words what was not as it should be."""

    name: str
    start_us: int
    slot_us: int
    prices: list[float]
    mended: tuple[str, ...]

    def series(self, zone: str) -> "Series":
        """The trace with the local clock of a zone."""
        import numpy as np

        from lowtide.market.deferral.series import series_of

        return series_of(np.array(self.prices), self.start_us, self.slot_us, zone)


def read_trace(path: Path, slot_us: int | None = None) -> Trace:
    """The prices of a file with the columns `ts` (RFC 3339) and `price`. Raises CommandFailed with the line at fault.

    A slot is the commonest step between rows unless given. Rows may come in any order; of two at one instant the later
    line counts; a slot without a row keeps the price before it.
    """
    at: list[int] = []
    prices: dict[int, float] = {}
    for line, row in _rows(path, ("ts", "price")):
        instant = _instant(path, line, row["ts"])
        at.append(instant)
        prices[instant] = _number(path, line, "price", row["price"])
    if len(prices) < 2:
        raise CommandFailed(f"{path} has {len(prices)} prices; a backtest needs two at least.")
    known = sorted(prices)
    steps = Counter(after - before for before, after in pairwise(known))
    slot = slot_us or min(steps, key=lambda step: (-steps[step], step))
    if DAY_US % slot:
        raise CommandFailed(
            f"{path} has a price every {span(slot / SECOND_US)}, which does not divide a day. Give --slot, such as 1h."
        )
    if (known[-1] - known[0]) // slot >= MOST_SLOTS:
        raise CommandFailed(
            f"{path} would be more than {MOST_SLOTS:,} slots of {span(slot / SECOND_US)}. Give a longer --slot."
        )
    return _on_grid(path, known, prices, slot, _order_of(at))


def _on_grid(path: Path, known: list[int], prices: dict[int, float], slot: int, mended: list[str]) -> Trace:
    start, filled, found, taken = known[0], 0, [], 0
    for at in range(start, known[-1] + 1, slot):
        own = at in prices
        while taken + 1 < len(known) and known[taken + 1] <= at:
            taken += 1
        filled += not own and known[taken] <= at - slot
        found.append(prices[known[taken]])
    off = sum((at - start) % slot != 0 for at in known)
    if filled:
        mended.append(f"{filled:,} of {len(found):,} slots had no price and keep the one before")
    if off:
        mended.append(
            f"{off:,} rows lie between slots of {span(slot / SECOND_US)}: each slot has the last price known at its begin"
        )
    return Trace(_name(path), start, slot, found, tuple(mended))


def _order_of(at: list[int]) -> list[str]:
    twice = len(at) - len(set(at))
    said = [f"{twice:,} rows repeat an instant: the later line counts"] if twice else []
    if any(after < before for before, after in pairwise(at)):
        said.append("rows were not in order of time and have been sorted")
    return said


def read_workload(path: Path, series: "Series", first: int) -> tuple["Tasks", int]:
    """Tasks at the times of a file, `t_s` seconds from slot `first` on, and how many came after the trace's end.

    A task weighs its tokens where the file has `prompt_tokens` or `completion_tokens`, else one. Raises CommandFailed.
    """
    import numpy as np

    from lowtide.market.deferral.backtest import Tasks

    slots, weights, after = [], [], 0
    for line, row in _rows(path, ("t_s",)):
        offset = _number(path, line, "t_s", row["t_s"])
        if offset < 0:
            raise CommandFailed(
                f"{path}, line {line}: t_s is {offset:g}; a task cannot come before the start."
            )
        slot = first + int(offset * SECOND_US) // series.slot_us
        tokens = [
            _number(path, line, name, row[name])
            for name in ("prompt_tokens", "completion_tokens")
            if row.get(name) is not None
        ]
        if any(count < 0 for count in tokens):
            raise CommandFailed(f"{path}, line {line}: tokens cannot be negative.")
        if slot < len(series):
            slots.append(slot)
            weights.append(sum(tokens) if tokens else 1.0)
        else:
            after += 1
    order = np.argsort(slots, kind="stable")
    return Tasks(np.array(slots, dtype=np.int64)[order], np.array(weights)[order]), after


def _rows(path: Path, needed: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        with (gzip.open(path, "rt", newline="", encoding="utf-8-sig") if path.suffix == ".gz"
              else path.open(newline="", encoding="utf-8-sig")) as text:  # fmt: skip
            reader = csv.DictReader(text)
            missing = [name for name in needed if name not in (reader.fieldnames or ())]
            if missing:
                raise CommandFailed(
                    f"{path} has no column {missing[0]}; its first line must name {', '.join(needed)}."
                )
            for row in reader:
                yield reader.line_num, row
    except OSError as fault:
        raise CommandFailed(f"{path} cannot be read: {fault.strerror or fault}.") from None
    except (UnicodeDecodeError, csv.Error, EOFError) as fault:
        raise CommandFailed(f"{path} is no CSV file: {fault}.") from None


def _instant(path: Path, line: int, text: str | None) -> int:
    try:
        return micros(parse_instant(text or ""))
    except BadValue as fault:
        raise CommandFailed(f"{path}, line {line}: {fault.detail}") from None


def _number(path: Path, line: int, name: str, text: str | None) -> float:
    try:
        found = float(text or "")
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise CommandFailed(f"{path}, line {line}: {name} is {text!r}, which is no number.")
    if abs(found) > MOST:
        raise CommandFailed(f"{path}, line {line}: {name} is {text!r}, more than {MOST:g} either way.")
    return found


def _name(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".csv")


def told(trace: Trace) -> str:
    """A trace in one line."""
    end = rfc3339(trace.start_us + trace.slot_us * len(trace.prices))
    slots = f"{len(trace.prices):,} slots of {span(trace.slot_us / SECOND_US)}"
    said = f"{trace.name}: {slots}, {rfc3339(trace.start_us)} to {end}"
    return "; ".join((said, *trace.mended)) + "."
