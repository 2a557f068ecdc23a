"""The newest forecasts of offers' prices on this node, as its decisions use them.

Where a node has none for an offer, as for prices that never change, only posted prices are waited for.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lowtide.market.book import Book
from lowtide.market.deferral.continuation import Forecast, ForecastUse
from lowtide.market.deferral.forecast import Score
from lowtide.values.instants import HOUR_US

SLOT_US = HOUR_US
SLACKS = (2, 6, 12, 24)
"""Slacks, in slots, for which a forecast is made: a task takes the least that holds its time left, or the last."""


@dataclass(frozen=True, slots=True)
class OfferForecast:
    """What is forecast of an offer's reference price (nano-USD of the call of `reference.py`).

    `by_slack` and `scores` are by slack in slots; `path` are 10 %, 50 % and 90 % quantiles of the slots after the one
    of `made_at` (µs).
    """

    offer_id: str
    made_at: int
    by_slack: Mapping[int, Forecast]
    scores: Mapping[int, Score]
    path: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class PoolForecast:
    """What is forecast of the cheapest of like offers, for the slacks where that has done better than their own forecasts.

    `scores`: by slack how tasks that any of them may serve did with the pool's forecasts, and how without.
    """

    name: str
    offer_ids: tuple[str, ...]
    made_at: int
    by_slack: Mapping[int, Forecast]
    scores: Mapping[int, tuple[Score, Score]]


class Forecasts:
    """The newest forecasts on this node."""

    def __init__(self) -> None:
        self._newest: dict[str, OfferForecast] = {}
        self._pools: tuple[PoolForecast, ...] = ()
        self._uses: dict[int, tuple[ForecastUse, ...]] = {}
        self.made = False
        """Whether this node has made its first: before, nothing is to be concluded from having none."""

    def of(self, offer_id: str) -> OfferForecast | None:
        """The newest of an offer, None where there is none."""
        return self._newest.get(offer_id)

    def uses(self, book: Book, complete_by: int, now: int) -> tuple[ForecastUse, ...]:
        """What a task with this deadline may weigh, by row; the core leaves out what is too old."""
        if not self._newest:
            return ()
        slack = next((slots for slots in SLACKS if slots * SLOT_US >= complete_by - now), SLACKS[-1])
        if slack not in self._uses:
            rows = ((book.row_of.get(offer_id), one) for offer_id, one in self._newest.items())
            uses = [ForecastUse(row, one.by_slack[slack]) for row, one in rows if row is not None]
            for pool in self._pools:
                if slack in pool.by_slack and all(name in book.row_of for name in pool.offer_ids):
                    members = tuple(book.row_of[name] for name in pool.offer_ids)
                    uses.append(ForecastUse(members[0], pool.by_slack[slack], members))
            self._uses[slack] = tuple(uses)
        return self._uses[slack]

    def pool_of(self, offer_id: str) -> PoolForecast | None:
        """The newest of the pool that an offer is in, None where there is none."""
        return next((pool for pool in self._pools if offer_id in pool.offer_ids), None)

    def take_pools(self, pools: Iterable[PoolForecast]) -> None:
        """Take over the newest of all pools."""
        self._pools = tuple(pools)
        self._uses.clear()

    def known(self) -> set[str]:
        """Offers that have one."""
        return set(self._newest)

    def take(self, offer_id: str, made: OfferForecast | None) -> None:
        """Take over an offer's newest; None: it has none any more."""
        if made is None:
            self._newest.pop(offer_id, None)
        else:
            self._newest[offer_id] = made
        self._uses.clear()
