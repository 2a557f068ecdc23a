"""The mixture: experts weighted by how they did on the series so far, for each slack by itself, behind a guard."""

from collections.abc import Iterator, Sequence

import numpy as np

from lowtide.market.deferral.replay import RUN_NOW, clairvoyant, costs
from lowtide.market.deferral.series import Flags, Floats, Series

EXPERTS = (
    "k_search",
    "robust_clip",
    "markov_median",
    "corrected_markov",
    "forecast_path",
    "forecast_path_linear",
    "longstaff_schwartz",
    "stacked",
)
FROM_DAY, ALL_FROM_DAY = 7, 15
_AWAKE_DAYS = 3
_HALF_LIFE_DAYS = 28
_SHARPNESS = 20.0
_MOST_TIMES = 5.0
_LEAST_SAVING = 0.001
_LEAST_DAYS, _LEAST_ERRORS = 3.5, 1.25
_HUGE = np.finfo(float).max / 1e6


def mixture(series: Series, trails: Sequence[Floats], slack: int, guarded: bool = True) -> Floats:
    """Continuation values `[slot, r]` for tasks that came with `slack` slots, of the experts' trails in their order.

    Row t reads prices up to slot t: a day's weights come from windows that closed before it.
    """
    day, slots = series.slots_a_day, len(series)
    values = np.stack([trail[:, : slack + 1] for trail in trails])
    weights = expert_weights(series, values, slack)[:, np.arange(slots) // day]
    found = _blend(values, weights, series.prices)
    found[weights.sum(axis=0) == 0] = RUN_NOW
    found[:, 0] = RUN_NOW
    if guarded:
        found[~guard_open(series, found, slack)[np.arange(slots) // day]] = RUN_NOW
    return found


def expert_weights(series: Series, values: Floats, slack: int) -> Floats:
    """`[expert, day]`: w ∝ exp(−20·x), x the expert's discounted loss to the clairvoyant ÷ what there was to save.

    An expert that had no say yet is charged what the others' mixture lost. The first week's evidence, of the quick
    experts alone, is dropped once the learned ones have their say too. All zero while nothing could be learned.
    """
    prices, day = series.prices, series.slots_a_day
    least = clairvoyant(prices, slack)
    gain = np.nan_to_num(prices - least)
    loss = np.stack([np.nan_to_num(costs(prices, each)[:, slack] - least) for each in values])
    spoken = np.isfinite(values[:, :, 1])
    awake_from = np.where(spoken.any(axis=1), spoken.argmax(axis=1) // day, len(prices))
    weights = np.zeros((len(values), -(-len(prices) // day)))
    lost, saved, fresh = np.zeros(len(values)), 0.0, False
    for today, span, fade in _closed(series, slack):
        if not fresh and span.start >= ALL_FROM_DAY * day:
            lost, saved, fresh = np.zeros(len(values)), 0.0, True
        asleep = awake_from * day > span.start
        each = loss[:, span].sum(axis=1)
        if not asleep.all():
            share = np.where(asleep, 0, weights[:, today - 1])
            each[asleep] = np.average(each[~asleep], weights=share[~asleep] if share.any() else None)
        lost, saved = lost * fade + each, saved * fade + float(gain[span].sum())
        heard = awake_from + _AWAKE_DAYS <= today
        if saved > 0 and heard.any():
            score = np.where(heard, lost / saved, np.inf)
            raw = np.exp(-_SHARPNESS * (score - score.min()))
            weights[:, today] = raw / raw.sum()
    return weights


def guard_open(series: Series, values: Floats, slack: int) -> Flags:
    """By day: whether replaying these values on closed windows did save, more than luck explains.

    Half forgotten in 28 days: at least 0.1 % of running at once; and the mean of the days' saved shares is 1.25 of its
    standard errors above zero, from four days on, so that a random walk does not open it by a lucky week.
    """
    prices = series.prices
    saving = np.nan_to_num(prices - costs(prices, values)[:, slack])
    found = np.zeros(-(-len(prices) // series.slots_a_day), dtype=np.bool_)
    saved, spent = 0.0, 0.0
    days, squared_days, shares, squares = 0.0, 0.0, 0.0, 0.0
    for today, span, fade in _closed(series, slack):
        some, at_once = float(saving[span].sum()), float(np.abs(prices[span]).sum())
        share = min(max(some / at_once, -1.0), 1.0) if at_once > 0 else 0.0
        saved, spent = saved * fade + some, spent * fade + at_once
        days, squared_days = days * fade + 1, squared_days * fade**2 + 1
        shares, squares = shares * fade + share, squares * fade + share**2
        mean = shares / days
        error = (max(squares / days - mean**2, 0.0) * squared_days) ** 0.5 / days
        enough = days >= _LEAST_DAYS and saved > 0 and saved >= _LEAST_SAVING * spent
        found[today] = enough and mean >= _LEAST_ERRORS * error
    return found


def _closed(series: Series, slack: int) -> Iterator[tuple[int, slice, float]]:
    """Each day from the first that counts: the arrivals whose windows closed since the last one, and what is forgotten."""
    day = series.slots_a_day
    closed = FROM_DAY * day
    for today in range(FROM_DAY, -(-len(series) // day)):
        end = today * day - slack
        if end > closed:
            yield today, slice(closed, end), 0.5 ** ((end - closed) / day / _HALF_LIFE_DAYS)
            closed = end


def _blend(values: Floats, weights: Floats, prices: Floats) -> Floats:
    """Σ w·clip(C, ± 5·max(|weighted median|, |price|)): no one expert can pull the mean away."""
    middle = _weighted_median(values, weights)
    bound = np.minimum(_MOST_TIMES * np.maximum(np.abs(middle), np.abs(prices)[:, None]), _HUGE)
    return np.asarray(np.einsum("es,esr->sr", weights, np.clip(values, -bound, bound)))


def _weighted_median(values: Floats, weights: Floats) -> Floats:
    order = np.argsort(values, axis=0, kind="stable")
    spread = np.broadcast_to(weights[:, :, None], values.shape)
    reached = np.cumsum(np.take_along_axis(spread, order, axis=0), axis=0) >= weights.sum(axis=0)[:, None] / 2
    at = np.take_along_axis(order, reached.argmax(axis=0)[None], axis=0)
    return np.asarray(np.take_along_axis(values, at, axis=0)[0])
