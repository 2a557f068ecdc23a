"""What the default deferral policy captures of the possible saving, and how long a backtest takes.

Needs a folder of traces, `ts,price` by the hour, named by LOWTIDE_TRACES; without one it says so and measures nothing.
"""

import os
from pathlib import Path
from time import process_time

import numpy as np

from lowtide.cli.backtest_files import read_trace
from lowtide.market.deferral.backtest import MIXTURE, Row, follow, judge, one_a_slot, values_of
from lowtide.market.deferral.series import Series

SLACKS_H = (2, 6, 12, 24)
LEAST_CAPTURED = (0.75, 0.79, 0.81, 0.80)
LEAST_POSTED = 0.97
MOST_VS_NOW = 1.001
MOST_SECONDS_TWO_YEARS = 60.0
MOST_FIT_MS = 500.0
_TWO_YEARS_H = 17_000
_FLAT = 0.01


def run() -> list[str]:
    """Measure and print; a line for each target that was missed."""
    folder = os.environ.get("LOWTIDE_TRACES")
    if not folder:
        print("deferral: skipped, LOWTIDE_TRACES names no folder of traces")
        return []
    missed: list[str] = []
    captured, known = [], []
    for path in sorted(Path(folder).glob("*.csv*")):
        series = read_trace(path).series("UTC")
        rows, posted, late = _measured(path.name.split(".")[0], series)
        missed += late
        missed += [
            f"{row.trace} at {row.slack_s // 3600} h cost {row.vs_now:.4f} of running at once; at most {MOST_VS_NOW}"
            for row in rows
            if row.vs_now is not None and row.vs_now > MOST_VS_NOW
        ]
        # Where even the clairvoyant saves under a hundredth, a share of it says nothing.
        if all(row.captured is not None and row.vs_clairvoyant is not None for row in rows) and _worth(rows):
            captured.append([row.captured for row in rows])
            known.append([row.captured for row in posted])
    return missed + _means(captured, known)


def _measured(name: str, series: Series) -> tuple[list[Row], list[Row], list[str]]:
    """Rows without and with a day posted, and what was too slow. Times are of the processor."""
    started = before = process_time()
    longest = 0.0
    tracks = follow(series, [MIXTURE], SLACKS_H)
    track = next(tracks)
    for track in tracks:  # noqa: B007 — the same one, carried on
        longest, before = max(longest, process_time() - before), process_time()
    tasks = one_a_slot(series)
    rows = [judge(name, series, values_of(series, track, MIXTURE, h), MIXTURE, tasks) for h in SLACKS_H]
    seconds = process_time() - started
    posted = [judge(name, series, values_of(series, track, MIXTURE, h, 24), MIXTURE, tasks) for h in SLACKS_H]
    shares = " ".join("  –  " if row.captured is None else f"{row.captured:.3f}" for row in rows)
    print(f"{name:>24}: captured {shares}, {seconds:5.1f} s, longest fit {longest * 1_000:4.0f} ms")
    missed = []
    if len(series) >= _TWO_YEARS_H and seconds > MOST_SECONDS_TWO_YEARS:
        missed.append(f"{name} took {seconds:.0f} s; at most {MOST_SECONDS_TWO_YEARS:.0f} is the target")
    if longest * 1_000 > MOST_FIT_MS:
        missed.append(
            f"a refit on {name} took {longest * 1_000:.0f} ms; at most {MOST_FIT_MS:.0f} is the target"
        )
    return rows, posted, missed


def _worth(rows: list[Row]) -> bool:
    ratios = [(row.vs_now or 1.0) / (row.vs_clairvoyant or 1.0) for row in rows]
    return min(ratios) < 1 - _FLAT


def _means(captured: list[list[float | None]], known: list[list[float | None]]) -> list[str]:
    if not captured:
        return []
    means = np.array(captured, dtype=float).mean(axis=0)
    posted = np.array(known, dtype=float).mean(axis=0)
    print(f"{'mean of ' + str(len(captured)):>24}: captured " + " ".join(f"{mean:.3f}" for mean in means))
    print(f"{'a day posted':>24}: captured " + " ".join(f"{mean:.3f}" for mean in posted))
    lines = [
        f"at {h} h the mixture captured {mean:.3f} on average; at least {least} is the target"
        for h, mean, least in zip(SLACKS_H, means, LEAST_CAPTURED, strict=True)
        if mean < least
    ]
    if posted.min() < LEAST_POSTED:
        lines.append(
            f"with a day posted {posted.min():.3f} was captured; at least {LEAST_POSTED} is the target"
        )
    return lines
