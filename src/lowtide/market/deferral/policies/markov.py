"""Markov stopping: the price is its daily profile plus a residual that moves between bins."""

import numpy as np

from lowtide.market.deferral.chain import Chain, ChainKind
from lowtide.market.deferral.policy import Past, Trails
from lowtide.market.deferral.replay import RUN_NOW
from lowtide.market.deferral.series import Floats, Series

KINDS = (
    ChainKind(days=28, half_life=14),
    ChainKind(days=56, half_life=20),
    ChainKind(days=112, half_life=28),
    ChainKind(days=56, half_life=20, by_hour=True),
)


class Markov:
    """V_r = min(price, E V_{r−1}) on a chain of 56 days in asinh(price)."""

    name = "markov"
    needs_days = 7
    hears: tuple[str, ...] = ()

    def __init__(self, kind: ChainKind = KINDS[1], name: str = "markov") -> None:
        self._kind = kind
        self.name = name

    def fit(self, past: Past, horizon: int) -> "ChainModel":
        return ChainModel(Chain.fitted(past.series, self._kind), horizon)


class ChainModel:
    """See `Model`."""

    def __init__(self, chain: Chain, horizon: int) -> None:
        self._chain, self._horizon = chain, horizon

    def values(self, seen: Series, trails: Trails, first: int) -> Floats:
        return self._chain.values(seen, first, self._horizon)


CHAINS = tuple(Markov(kind, f"markov_chain_{number}") for number, kind in enumerate(KINDS, start=1))


class MarkovMedian:
    """The median of four chains: of 28, 56 and 112 days, and one whose residual is scaled by the hour."""

    name = "markov_median"
    needs_days = 7
    hears: tuple[str, ...] = tuple(chain.name for chain in CHAINS)

    def fit(self, past: Past, horizon: int) -> "_Median":
        return _Median(self.hears)


class _Median:
    def __init__(self, hears: tuple[str, ...]) -> None:
        self._hears = hears

    def values(self, seen: Series, trails: Trails, first: int) -> Floats:
        found = np.median([trails[name][first : len(seen)] for name in self._hears], axis=0)
        found[:, 0] = RUN_NOW
        return np.asarray(found)
