"""The mixture: experts weighted by how they did on the series so far, for each slack by itself, behind a guard."""

from collections.abc import Sequence

import numpy as np

from lowtide.market.deferral.replay import RUN_NOW, clairvoyant, costs
from lowtide.market.deferral.series import Floats, Series

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
FROM_DAY = 15
_AWAKE_DAYS = 3
_HALF_LIFE_DAYS = 28
_SHARPNESS = 20.0
_MOST_TIMES = 5.0
_LEAST_SAVING = 0.001
_STORM_POWER = 0.5
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

    A day with more to save than usual counts by the root of the excess: one storm must not rule for months. An expert
    that had no say yet is charged what the others' mixture lost. All zero while nothing could be learned.
    """
    prices, day = series.prices, series.slots_a_day
    least = clairvoyant(prices, slack)
    gain = np.nan_to_num(prices - least)
    loss = np.stack([np.nan_to_num(costs(prices, each)[:, slack] - least) for each in values])
    spoken = np.isfinite(values[:, :, 1])
    awake_from = np.where(spoken.any(axis=1), spoken.argmax(axis=1) // day, len(prices))
    weights = np.zeros((len(values), -(-len(prices) // day)))
    lost, saved, days, usual = np.zeros(len(values)), 0.0, 0.0, 0.0
    closed = FROM_DAY * day
    for today in range(FROM_DAY, weights.shape[1]):
        end = today * day - slack
        if end > closed:
            span, fade = slice(closed, end), 0.5 ** ((end - closed) / day / _HALF_LIFE_DAYS)
            some = gain[span].sum()
            days, usual = days * fade + (end - closed) / day, usual * fade + some
            much = some * days / (usual * (end - closed) / day) if usual > 0 else 0.0
            counts = much**-_STORM_POWER if much > 1 else 1.0
            each = loss[:, span].sum(axis=1)
            asleep = awake_from * day > closed
            if not asleep.all():
                share = np.where(asleep, 0, weights[:, today - 1])
                each[asleep] = np.average(each[~asleep], weights=share[~asleep] if share.any() else None)
            lost, saved, closed = lost * fade + counts * each, saved * fade + counts * some, end
        heard = awake_from + _AWAKE_DAYS <= today
        if saved > 0 and heard.any():
            score = np.where(heard, lost / saved, np.inf)
            raw = np.exp(-_SHARPNESS * (score - score.min()))
            weights[:, today] = raw / raw.sum()
    return weights


def guard_open(series: Series, values: Floats, slack: int) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    """By day: whether replaying these values on closed windows saved 0.1 % of running at once, half forgotten in 28 days."""
    prices, day = series.prices, series.slots_a_day
    saving = np.nan_to_num(prices - costs(prices, values)[:, slack])
    found = np.zeros(-(-len(prices) // day), dtype=np.bool_)
    saved, spent, closed = 0.0, 0.0, FROM_DAY * day
    for today in range(FROM_DAY, len(found)):
        end = today * day - slack
        if end > closed:
            fade = 0.5 ** ((end - closed) / day / _HALF_LIFE_DAYS)
            age = 0.5 ** (np.arange(end - closed)[::-1] / day / _HALF_LIFE_DAYS)
            saved = saved * fade + float(saving[closed:end] @ age)
            spent = spent * fade + float(np.abs(prices[closed:end]) @ age)
            closed = end
        found[today] = saved > 0 and saved >= _LEAST_SAVING * spent
    return found


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
