"""Prices expected by the clock: the profile of the day, and what the price is off it fading away."""

from dataclasses import dataclass, field

import numpy as np

from lowtide.market.deferral.series import Floats, Ints

_DAYS = 28
_HALF_LIFE_DAYS = 10
_MOST_MEMORY = 0.99
_LEAST_SCALE = 1e-9


@dataclass(frozen=True, slots=True)
class ClockFit:
    """Of asinh(price ÷ scale): its usual value by slot of the day, and the share of the rest that is left a slot later."""

    scale: float
    usual: Floats
    memory: float

    @classmethod
    def of(cls, prices: Floats, clock: Ints, day: int) -> "ClockFit":
        """Fitted on these prices, weights half forgotten in ten days."""
        if not len(prices):
            return cls(1.0, np.zeros(day), 1.0)
        scale = max(float(np.median(np.abs(prices))), _LEAST_SCALE)
        z = np.arcsinh(prices / scale)
        weight = 0.5 ** ((len(prices) - np.arange(len(prices))) / (_HALF_LIFE_DAYS * day))
        mass, total = np.bincount(clock, weight, day), np.bincount(clock, z * weight, day)
        overall = float(total.sum() / mass.sum())
        usual = np.where(mass > 0, total / np.where(mass > 0, mass, 1.0), overall)
        off = z - usual[clock]
        memory = float(off[1:] @ off[:-1] / max(off[:-1] @ off[:-1], 1e-12))
        return cls(scale, usual, min(max(memory, 0.0), _MOST_MEMORY))


@dataclass
class ClockPath:
    """Profile by slot of the day and AR(1) on what is left, over the 28 days before; fitted anew once a day.

    `clock[t]` is the slot of the day of slot t, of `day` in all.
    """

    prices: Floats
    clock: Ints
    day: int
    _fits: dict[int, ClockFit] = field(default_factory=dict)

    def __call__(self, slot: int, slots: int) -> Floats:
        """Expected prices of the next slots, the first being the price now; reads prices up to `slot`."""
        fit = self.fit(slot)
        ahead = np.arange(slots)
        at = self.clock[slot]
        off = np.arcsinh(self.prices[slot] / fit.scale) - fit.usual[at]
        expected: Floats = fit.scale * np.sinh(fit.usual[(at + ahead) % self.day] + fit.memory**ahead * off)
        expected[0] = self.prices[slot]
        return expected

    def fit(self, slot: int) -> ClockFit:
        """The fit that serves a slot, made on the days before its own."""
        until = slot // self.day * self.day
        if until not in self._fits:
            past = slice(max(0, until - _DAYS * self.day), until)
            self._fits = {until: ClockFit.of(self.prices[past], self.clock[past], self.day)}
        return self._fits[until]
