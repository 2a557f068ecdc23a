"""What a deferral policy is: fitted on a past, it gives continuation values by slots left."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from lowtide.market.deferral.replay import RUN_NOW
from lowtide.market.deferral.ridge import Ridge
from lowtide.market.deferral.series import Floats, Series

Trails = Mapping[str, Floats]


@dataclass(frozen=True, slots=True)
class Past:
    """What may be known at a fit: prices before it, and the values `[slot, r]` that other policies gave then."""

    series: Series
    trails: Trails
    _ridges: dict[bool, Ridge] = field(default_factory=dict)

    def ridge(self, curved: bool) -> Ridge:
        """The regression of this past, on asinh(price) if curved; policies share it."""
        if curved not in self._ridges:
            self._ridges[curved] = Ridge.fitted(self.series, curved)
        return self._ridges[curved]


class Model(Protocol):
    """A policy fitted on a past."""

    def values(self, seen: Series, trails: Trails, first: int) -> Floats:
        """Continuation values `[slot − first, r]` of slots `first` … end, for r = 0 … horizon slots left.

        A task runs at a slot iff its price is at or under the value. Row t reads prices up to slot t. Column 0 is +∞.
        """


class Policy(Protocol):
    """One way to decide when to run; stateless, so it can be fitted again from the past alone.

    `hears` names the policies whose trails it reads; `needs_days` is the history without which it runs at once.
    """

    @property
    def name(self) -> str: ...

    @property
    def needs_days(self) -> int: ...

    @property
    def hears(self) -> tuple[str, ...]: ...

    def fit(self, past: Past, horizon: int) -> Model:
        """Fitted on all of the past, for up to `horizon` slots left (a day at most)."""


def run_now(slots: int, horizon: int) -> Floats:
    """Values that never wait."""
    return np.full((slots, horizon + 1), RUN_NOW)


def steady(level: float, slots: int, horizon: int) -> Floats:
    """Values that are the same in every slot, however many are left."""
    found = np.full((slots, horizon + 1), level)
    found[:, 0] = RUN_NOW
    return found
