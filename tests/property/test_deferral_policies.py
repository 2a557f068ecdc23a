"""Every deferral policy: nothing it decides depends on a later price; the guard; live work equals the replay."""

import numpy as np
import pytest

from lowtide.market.deferral.backtest import MIXTURE, NAMES, follow, judge, one_a_slot, values_of
from lowtide.market.deferral.forecast import Forecaster
from lowtide.market.deferral.policies import POLICIES
from lowtide.market.deferral.series import Series, series_of
from lowtide.market.deferral.track import Track, stretch

HOUR = 3_600_000_000
HORIZON = 4


def wavy(days: int, seed: int = 5, level: float = 40.0, slot_us: int = HOUR) -> np.ndarray:
    """Prices with a daily wave, noise that lasts, and now and then a spike or a fall under zero."""
    random = np.random.default_rng(seed)
    slots = days * 24 * HOUR // slot_us
    wave = level + 15 * np.sin(2 * np.pi * np.arange(slots) * slot_us / (24 * HOUR))
    noise = np.zeros(slots)
    for slot in range(1, slots):
        noise[slot] = 0.8 * noise[slot - 1] + random.normal(0, 4)
    spikes = (random.random(slots) < 0.01) * random.normal(0, 120, slots)
    return wave + noise + spikes


def tracked(series: Series, horizon: int = HORIZON) -> Track:
    *_, track = follow(series, [*POLICIES, MIXTURE], [horizon])
    return track


@pytest.fixture(scope="module")
def history() -> tuple[Series, Track]:
    series = series_of(wavy(31), 0, HOUR)
    return series, tracked(series)


@pytest.fixture(scope="module")
def otherwise(history) -> tuple[int, Series, Track]:
    """The same history until a slot in the midst of a day, and wild prices after it."""
    known = 27 * 24 + 11
    prices = history[0].prices.copy()
    prices[known:] = np.random.default_rng(1).normal(0, 900, len(prices) - known)
    series = series_of(prices, 0, HOUR)
    return known, series, tracked(series)


@pytest.mark.parametrize("name", [*POLICIES, MIXTURE])
@pytest.mark.parametrize("slack", [1, HORIZON])
def test_no_value_depends_on_a_later_price(name, slack, history, otherwise):
    known, changed, track = otherwise
    before = values_of(*history, name, slack)
    after = values_of(changed, track, name, slack)
    np.testing.assert_array_equal(before[:known], after[:known])
    if name not in ("run_now", "cheapest_known"):
        assert np.isfinite(before[known - 24 : known, 1:]).all()
        assert (before[known:, 1:] != after[known:, 1:]).any()


@pytest.mark.parametrize("name", NAMES)
def test_with_no_slot_left_every_policy_runs(name, history):
    assert (values_of(*history, name, HORIZON)[:, 0] == np.inf).all()


@pytest.mark.parametrize("name", NAMES)
def test_no_policy_beats_the_clairvoyant(name, history):
    series, track = history
    row = judge("t", series, values_of(series, track, name, HORIZON), name, one_a_slot(series))
    assert row.captured is not None
    assert row.captured <= 1
    assert row.vs_clairvoyant >= 1


def test_the_mixture_captures_much_of_what_a_daily_wave_offers(history):
    series, track = history
    row = judge("t", series, values_of(series, track, MIXTURE, HORIZON), MIXTURE, one_a_slot(series))
    assert row.captured > 0.25
    assert row.misses == 0


def test_where_waiting_only_costs_the_guard_runs_at_once():
    rising = series_of(np.linspace(10, 30, 30 * 24) + 0.01 * wavy(30, level=0.0), 0, HOUR)
    track = tracked(rising, 2)
    assert (values_of(rising, track, MIXTURE, 2)[16 * 24 :] == np.inf).all()
    row = judge("t", rising, values_of(rising, track, MIXTURE, 2), MIXTURE, one_a_slot(rising))
    assert row.vs_now <= 1.001


def test_a_flat_trace_has_no_share_to_capture_and_loses_nothing():
    flat = series_of(np.full(24 * 24, 2.5), 0, HOUR)
    track = tracked(flat, 2)
    for name in NAMES:
        row = judge("t", flat, values_of(flat, track, name, 2), name, one_a_slot(flat))
        assert (row.captured, row.vs_now) == (None, 1.0)


def test_prices_under_zero_leave_k_search_running_at_once():
    low = series_of(wavy(12, level=0.0), 0, HOUR)
    track = Track(["k_search", "robust_clip"], 2)
    track.extend(low)
    assert (track.of("k_search")[4 * 24 :] == np.inf).all()
    assert (track.of("robust_clip")[8 * 24 :] == np.inf).all()


def test_carried_on_hour_by_hour_it_gives_what_the_replay_gives(history):
    series, track = history
    live = Forecaster("pool", series.until(30 * 24), HORIZON)
    live.extend(series.until(30 * 24))
    for end in range(30 * 24 + 1, 30 * 24 + 8):
        assert live.extend(series.until(end))
        made = live.forecast(HORIZON, made_at=end * HOUR)
        replayed = np.floor(values_of(series, track, MIXTURE, HORIZON)[end - 1, 1:])
        np.testing.assert_allclose(made.values_nano, replayed, atol=1)


def test_a_forecast_is_whole_numbers_with_a_digest_and_a_score(history):
    series, _ = history
    nano = series_of(np.round(series.prices * 1e9), 0, HOUR)
    first, again = Forecaster("pool", nano, HORIZON), Forecaster("pool", nano, HORIZON)
    assert not first.extend(nano, one_fit=True)
    assert first.forecast(HORIZON, 0).values_nano == ()
    assert first.path() == ()
    while not first.extend(nano, one_fit=True):
        pass
    again.extend(nano)
    made = first.forecast(HORIZON, 99)
    assert made.digest() == again.forecast(HORIZON, 99).digest()
    assert len(made.digest()) == 64
    assert all(type(value) is int for value in made.values_nano)
    assert len(made.values_nano) == HORIZON
    assert made.reservation_nano(0) is None
    assert made.reservation_nano(HORIZON + 9) == made.values_nano[-1]
    score = first.score(HORIZON)
    assert 0 < score.captured < 1
    assert 0 < score.saved < 1
    assert len(first.path()) == HORIZON
    assert all(low <= middle <= high for low, middle, high in first.path())


def test_half_hours_and_long_slots_are_followed_too():
    half = series_of(wavy(21, slot_us=HOUR // 2), 0, HOUR // 2)
    long = series_of(wavy(40, slot_us=3 * HOUR), 0, 3 * HOUR)
    track = Track(["forecast_path", "stacked"], 4)
    track.extend(half)
    assert np.isfinite(track.of("stacked")[20 * 48 + 48 :, 1:]).all()
    *_, track = follow(long, [MIXTURE], [2])
    assert np.isfinite(values_of(long, track, MIXTURE, 2)[-1, 1:]).all()


def test_within_a_capacity_the_share_is_of_what_the_capacity_leaves_to_save(history):
    series, track = history
    values = values_of(series, track, "markov", HORIZON)
    free = judge("t", series, values, "markov", one_a_slot(series))
    tight = judge("t", series, values, "markov", one_a_slot(series), capacity=2)
    assert tight.vs_now > free.vs_now
    assert tight.vs_now / tight.vs_clairvoyant > free.vs_now / free.vs_clairvoyant
    assert 0 < tight.captured < 1


def test_a_model_is_kept_for_a_day_at_first_and_for_a_week_at_most():
    kept = [stretch(slot * 24, 24) for slot in (0, 27, 60, 700)]
    assert [(end - begin) // 24 for begin, end in kept] == [1, 1, 2, 7]
    assert all(begin <= slot * 24 < end for slot, (begin, end) in zip((0, 27, 60, 700), kept, strict=True))
