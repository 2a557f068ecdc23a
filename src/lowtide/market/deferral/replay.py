"""What a policy would have cost on a series, and what the clairvoyant would: exact, for every slack at once."""

import numpy as np

from lowtide.market.deferral.series import Floats

RUN_NOW = np.inf


def costs(prices: Floats, values: Floats) -> Floats:
    """Price paid by a task that arrives in slot `t` and may start up to `r` slots later, at `[t, r]`.

    `values[t, r]` is the continuation value with `r` slots left: the task runs iff the price is at or under it, and
    always with none left. NaN where the window has not closed.
    """
    slots, most = values.shape
    paid = np.full((slots, most), np.nan)
    paid[:, 0] = prices
    for left in range(1, most):
        paid[:-1, left] = np.where(prices[:-1] <= values[:-1, left], prices[:-1], paid[1:, left - 1])
        paid[max(slots - left, 0) :, left] = np.nan
    return paid


def waits(prices: Floats, values: Floats) -> Floats:
    """Slots waited by the same tasks."""
    slots, most = values.shape
    waited = np.full((slots, most), np.nan)
    waited[:, 0] = 0
    for left in range(1, most):
        waited[:-1, left] = np.where(prices[:-1] <= values[:-1, left], 0, waited[1:, left - 1] + 1)
        waited[max(slots - left, 0) :, left] = np.nan
    return waited


def clairvoyant(prices: Floats, slack: int) -> Floats:
    """The least price of the slots `t` … `t + slack`; NaN where the window has not closed."""
    best = np.full(len(prices), np.nan)
    if len(prices) > slack:
        windows = np.lib.stride_tricks.sliding_window_view(prices, slack + 1)
        best[: len(windows)] = windows.min(axis=1)
    return best
