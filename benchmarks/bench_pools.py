"""What forecasts of pools add where two sellers may serve a task: the shared traces, by pairs.

A pair stands for two sellers of one model. Prices are brought to the same mean over the last 150 days that both have,
and to a hundredth of it at least. Every hour the pool's forecast is used if it did better than the sellers' own on the
windows of the 28 days before.
"""

import os
from itertools import combinations
from pathlib import Path

import numpy as np

from lowtide.cli.backtest_files import read_trace
from lowtide.market.deferral.forecast import Forecaster
from lowtide.market.deferral.pools import cheapest
from lowtide.market.deferral.replay import clairvoyant, costs
from lowtide.market.deferral.series import Floats, series_of
from lowtide.values.instants import HOUR_US

SLACKS_H = (2, 6, 12, 24)
_SLOTS, _MONTH = 150 * 24, 28 * 24
_FLAT = 0.05
"""Where even the clairvoyant saves less, a share of it says nothing."""


def run() -> list[str]:
    """Measure and print; a line where pools capture less than their sellers' own forecasts."""
    folder = os.environ.get("LOWTIDE_TRACES")
    if not folder:
        print("pools: skipped, LOWTIDE_TRACES names no folder of traces")
        return []
    traces = [(path.name.split(".")[0], read_trace(path)) for path in sorted(Path(folder).glob("*.csv*"))]
    hourly = [
        (name, one.series("UTC").prices) for name, one in traces if one.series("UTC").slot_us == HOUR_US
    ]
    moving = [(name, prices) for name, prices in hourly if _saving(_scaled(prices, _SLOTS)) > _FLAT]
    found = np.array([_captured(one, other) for (_, one), (_, other) in combinations(moving, 2)])
    alone, pooled = found.mean(axis=0)
    for slack, before, after in zip(SLACKS_H, alone, pooled, strict=True):
        print(
            f"pools: {len(found)} pairs, {slack} h: captured {before:.3f} by their own, {after:.3f} with the pool's"
        )
    if (pooled < alone).any():
        return ["pools capture less than their sellers' own forecasts"]
    return []


def _scaled(prices: Floats, slots: int) -> Floats:
    last = prices[-slots:] / prices[-slots:].mean()
    return np.round(1e6 * np.maximum(last, 0.01))


def _saving(prices: Floats) -> float:
    return float(1 - clairvoyant(prices, 24)[:-24].sum() / prices[:-24].sum())


def _captured(one: Floats, other: Floats) -> tuple[list[float], list[float]]:
    slots = min(len(one), len(other), _SLOTS)
    pair = [_scaled(prices, slots) for prices in (one, other)]
    least = cheapest([prices.astype(np.int64).tolist() for prices in pair], None)
    makers = [_followed(prices) for prices in (*pair, least)]
    alone, pooled = list[float](), list[float]()
    for slack in SLACKS_H:
        first, second, own = (maker.values(slack) for maker in makers)
        separate = np.minimum(first, second)
        without = costs(least, separate)[:, slack]
        both = costs(least, np.minimum(separate, own))[:, slack]
        chosen = np.where(_did_better(without, both, slack), both, without)
        span = slice(_MONTH, slots - slack)
        now, best = least[span].sum(), clairvoyant(least, slack)[span].sum()
        alone.append(float((now - without[span].sum()) / (now - best)))
        pooled.append(float((now - chosen[span].sum()) / (now - best)))
    return alone, pooled


def _followed(prices: Floats) -> Forecaster:
    series = series_of(prices, 0, HOUR_US)
    maker = Forecaster("", series, max(SLACKS_H))
    maker.extend(series)
    return maker


def _did_better(without: Floats, both: Floats, slack: int) -> np.ndarray:
    """By slot, whether the pool's forecast saved on the windows of 28 days that had closed by then."""
    gained = np.concatenate(([0.0], np.cumsum(without - both)))
    slot = np.arange(len(without))
    known, since = np.maximum(slot - slack, 0), np.maximum(slot - slack - _MONTH, 0)
    better: np.ndarray = gained[known] > gained[since]
    return better
