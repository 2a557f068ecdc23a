"""Making forecasts of offers' prices: each node makes its own from the history, in the background, once a slot."""

import asyncio
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

import numpy as np
import structlog

from lowtide.exchange.followed_prices import CHANGED_WITHIN_DAYS, FollowedPrice
from lowtide.exchange.forecast_pools import Followed, PoolMaker, pools_of
from lowtide.exchange.forecasts import SLACKS, SLOT_US, OfferForecast
from lowtide.exchange.market import Market
from lowtide.exchange.prices import Range, price_bars_of
from lowtide.market.deferral.forecast import Forecaster
from lowtide.market.deferral.series import Series, series_of
from lowtide.store import price_bars
from lowtide.values.errors import InvalidRequest, MarketError
from lowtide.values.instants import DAY_US, MINUTE_US

SETTLE_US = MINUTE_US
"""What a slot brings, a feed may bring late: its forecasts are made when so much of it is over."""
MOST_OFFERS = 100
"""Those that changed most often; a fit takes some 60 ms, and an offer a few seconds when it is first seen."""
_LOOK_BACK_DAYS, _MOST_SLOTS = 120, 240 * 24
_MOST_SEEN = 2 * MOST_OFFERS
"""Changing offers looked at; where there are more, which prices are steady is not known."""
_PAUSE_S = 0.005
_NICE = 10
_T = TypeVar("_T")
_log = structlog.get_logger()


class ForecastMaker:
    """Follows the prices of the offers that change, and makes their forecasts on one thread of low priority."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self._followed: dict[str, FollowedPrice] = {}
        self._forecasters: dict[str, Forecaster] = {}
        self._newest: dict[str, Followed] = {}
        self._pools = PoolMaker()
        self._made_for = -1
        self._worker: ThreadPoolExecutor | None = None

    async def refresh(self) -> int:
        """Make this slot's forecasts, if that is not done and the slot is settled; how many there are now."""
        market, now = self._market, self._market.now()
        slot = now // SLOT_US
        if slot == self._made_for or now % SLOT_US < SETTLE_US:
            return len(market.forecasts.known())
        self._made_for = slot
        async with market.database.read() as conn:
            found = await price_bars.changing(conn, now - CHANGED_WITHIN_DAYS * DAY_US, now, _MOST_SEEN)
        book, wanted = market.keeper.book, dict[str, str]()
        for offer_id, source in found:
            row = book.row_of.get(offer_id)
            offer = None if row is None else book.rows[row].offer
            if offer is not None and not offer.withdrawn and offer.price_source == source:
                wanted[offer_id] = source
        wanted = dict(list(wanted.items())[:MOST_OFFERS])
        for gone in self._followed.keys() - wanted.keys():
            self._forget(gone)
        for offer_id, source in wanted.items():
            try:
                market.forecasts.take(offer_id, await self._forecast(offer_id, source))
            except (ArithmeticError, ValueError, np.linalg.LinAlgError, MarketError) as fault:
                # One offer's odd history is no reason to leave the others without forecasts.
                _log.error("forecast_failed", offer_id=offer_id, exc_info=fault)
                self._forget(offer_id)
        for gone in market.forecasts.known() - self._followed.keys():
            market.forecasts.take(gone, None)
        changing = {offer_id for offer_id, _ in found}
        pools = pools_of(market.keeper.book, self._newest, changing, now) if len(found) < _MOST_SEEN else {}
        market.forecasts.take_pools(await self._pools.forecasts(pools, now, self._work))
        market.forecasts.made = True
        return len(market.forecasts.known())

    def close(self) -> None:
        """Stop the worker; a fit that has begun ends by itself, within a second."""
        if self._worker is not None:
            self._worker.shutdown(wait=False, cancel_futures=True)

    def _forget(self, offer_id: str) -> None:
        self._followed.pop(offer_id, None)
        self._forecasters.pop(offer_id, None)
        self._newest.pop(offer_id, None)

    async def _work(self, slow: Callable[..., _T], *given: Any) -> _T:
        """One slow call on the worker; others get their turn after it."""
        self._worker = self._worker or _modest_worker()
        return await asyncio.get_running_loop().run_in_executor(self._worker, _after_a_pause, slow, *given)

    async def _forecast(self, offer_id: str, source: str) -> OfferForecast | None:
        now = self._market.now()
        followed = self._followed.get(offer_id)
        if followed is None or followed.source != source or len(followed.over) > _MOST_SLOTS:
            begin = (now - _LOOK_BACK_DAYS * DAY_US) // SLOT_US * SLOT_US
            followed = self._followed[offer_id] = FollowedPrice(source, begin)
            self._forecasters.pop(offer_id, None)
            self._newest.pop(offer_id, None)
        price = await self._read_on(offer_id, followed, now)
        if price is None or not followed.can_be_forecast(price):
            self._newest.pop(offer_id, None)
            return None
        prices = [*followed.over, price]
        series = await self._work(_series, prices, followed.start)
        forecaster = self._forecasters.get(offer_id)
        if forecaster is None:
            forecaster = self._forecasters[offer_id] = Forecaster(offer_id, series, SLACKS[-1])
        while not await self._work(forecaster.extend, series, True):
            continue
        self._newest[offer_id] = Followed(forecaster, prices, followed.start)
        return await self._work(_made, forecaster, offer_id, now)

    async def _read_on(self, offer_id: str, followed: FollowedPrice, now: int) -> int | None:
        """Take over the slots that are over, and give the price now; None where there is none."""
        asked = Range(followed.next_slot, now, SLOT_US)
        try:
            history = await price_bars_of(self._market, offer_id, asked, followed.source)
        except InvalidRequest as refused:
            _log.warning("no_forecast", offer_id=offer_id, cause=refused.detail)
            return None
        return followed.take_over(history.bars, now)


def _series(prices: list[int], start: int) -> Series:
    return series_of(np.array(prices, dtype=np.float64), start, SLOT_US)


def _after_a_pause(slow: Callable[..., _T], *given: Any) -> _T:
    time.sleep(_PAUSE_S)
    return slow(*given)


def _made(forecaster: Forecaster, offer_id: str, now: int) -> OfferForecast:
    return OfferForecast(
        offer_id,
        now,
        {slack: forecaster.forecast(slack, now) for slack in SLACKS},
        {slack: forecaster.score(slack) for slack in SLACKS},
        forecaster.path(),
    )


def _modest_worker() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, "forecasts", initializer=_be_modest)


def _be_modest() -> None:
    """Calls come first. Only some systems give a thread a priority of its own."""
    with suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
