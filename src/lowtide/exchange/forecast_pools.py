"""Making forecasts of pools: offers of one model on one lane, of which a task takes whichever is cheapest."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import structlog

from lowtide.exchange.forecasts import SLACKS, SLOT_US, PoolForecast
from lowtide.market.book import Book
from lowtide.market.deferral.batch_lane import BATCH
from lowtide.market.deferral.forecast import Forecaster
from lowtide.market.deferral.pools import PoolForecaster, cheapest
from lowtide.market.deferral.reference import reference_nano
from lowtide.market.deferral.series import series_of
from lowtide.market.price_history import unit_prices

MOST_POOLS = 50
"""A pool's fit takes as long as an offer's."""
OnWorker = Callable[..., Awaitable[Any]]
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Followed:
    """An offer whose price is followed: its forecaster and its prices, nano-USD, one a slot from `start` (µs) to now."""

    forecaster: Forecaster
    prices: list[int]
    start: int

    @property
    def end(self) -> int:
        """Where the slot after the newest begins, µs."""
        return self.start + len(self.prices) * SLOT_US


@dataclass(slots=True)
class Pool:
    """Like offers: those that are followed, and what the cheapest of the steady others asks (nano-USD)."""

    followed: dict[str, Followed] = field(default_factory=dict)
    steady: list[str] = field(default_factory=list)
    most: int | None = None

    @property
    def offer_ids(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.followed, *self.steady)


def pools_of(
    book: Book, followed: Mapping[str, Followed], changing: Collection[str], now: int
) -> dict[str, Pool]:
    """By name the pools of two offers and more of which one at least is followed.

    An offer that changes but is not followed is left out: what it will ask is not known.
    """
    end, found = max((one.end for one in followed.values()), default=0), dict[str, Pool]()
    for number, row in enumerate(book.rows):
        offer = row.offer
        if offer.withdrawn or offer.lane == BATCH:
            continue
        pool = found.setdefault(f"{offer.model} ({offer.lane})", Pool())
        if (one := followed.get(offer.id)) is not None and one.end == end:
            pool.followed[offer.id] = one
        elif offer.id not in changing and (price := _price_now(book, number, now)) is not None:
            pool.steady.append(offer.id)
            pool.most = price if pool.most is None else min(pool.most, price)
    some = [(name, pool) for name, pool in found.items() if pool.followed and len(pool.offer_ids) > 1]
    return dict(some[:MOST_POOLS])


class PoolMaker:
    """Carries on each pool's mixture, and begins anew where its offers are others."""

    def __init__(self) -> None:
        self._made: dict[str, tuple[object, PoolForecaster]] = {}

    async def forecasts(self, pools: Mapping[str, Pool], now: int, work: OnWorker) -> list[PoolForecast]:
        """The newest of each; `work` runs one call of what is slow where it disturbs nobody."""
        self._made = {name: kept for name, kept in self._made.items() if name in pools}
        found = []
        for name, pool in pools.items():
            try:
                found.append(await self._forecast(name, pool, now, work))
            except (ArithmeticError, ValueError, np.linalg.LinAlgError) as fault:
                # One pool's odd history is no reason to leave the others without forecasts.
                _log.error("forecast_failed", pool=name, exc_info=fault)
                self._made.pop(name, None)
        return found

    async def _forecast(self, name: str, pool: Pool, now: int, work: OnWorker) -> PoolForecast:
        members = list(pool.followed.values())
        prices = cheapest([one.prices for one in members], pool.most)
        series = await work(series_of, prices, min(one.start for one in members), SLOT_US)
        key = [(one.forecaster, one.start) for one in members], pool.most
        kept = self._made.get(name)
        if kept is None or kept[0] != key:
            forecasters = [one.forecaster for one in members]
            kept = self._made[name] = (key, PoolForecaster(name, forecasters, series, SLACKS[-1]))
        while not await work(kept[1].extend, series, True):
            continue
        made: PoolForecast = await work(_made, kept[1], name, pool.offer_ids, now)
        return made


def _made(forecaster: PoolForecaster, name: str, offer_ids: tuple[str, ...], now: int) -> PoolForecast:
    made = {slack: forecaster.forecast(slack, now) for slack in SLACKS}
    return PoolForecast(
        name,
        offer_ids,
        now,
        {slack: one for slack, one in made.items() if one is not None},
        {slack: forecaster.scores(slack) for slack in SLACKS},
    )


def _price_now(book: Book, number: int, now: int) -> int | None:
    quote = book.quote_at(number, now)
    prices = None if quote is None or quote.quarantined else unit_prices(quote.prices)
    return None if prices is None else reference_nano(prices)
