"""One offer's price as a series on an even grid, read on slot by slot from its history."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from lowtide.exchange.forecasts import SLOT_US
from lowtide.market.deferral.reference import reference_nano
from lowtide.market.price_history import Bar, UnitPrices
from lowtide.values.instants import DAY_US

LEAST_DAYS, CHANGED_WITHIN_DAYS = 11, 28
"""Before, the mixture never waits; and without a change in that time there is nothing to forecast."""


@dataclass(slots=True)
class FollowedPrice:
    """An offer's reference prices (nano-USD) by its `source`, from `start` (µs) on: one for each slot that is over."""

    source: str
    start: int
    over: list[int] = field(default_factory=list)

    @property
    def next_slot(self) -> int:
        """Where the first slot begins that is not taken over yet, µs."""
        return self.start + len(self.over) * SLOT_US

    def take_over(self, bars: Iterable[Bar], now: int) -> int | None:
        """Take over the slots that are over from bars of one slot each, and give the price now; None where there is none.

        A slot's price is its time-weighted mean; where no price held, the one before goes on. The series begins with the
        first price.
        """
        for bar in bars:
            if not self.over:
                self.start = bar.start
            self._go_on(bar.start)
            if bar.start + SLOT_US > now:
                return None if bar.closing is None else reference_nano(bar.closing)
            self.over.append(reference_nano(UnitPrices(*bar.means)))
        return None

    def can_be_forecast(self, price: int) -> bool:
        """Whether with the price now there is enough history, and a change in it."""
        recent = {*self.over[-(CHANGED_WITHIN_DAYS * DAY_US // SLOT_US) :], price}
        return len(self.over) >= LEAST_DAYS * DAY_US // SLOT_US and len(recent) > 1

    def _go_on(self, until: int) -> None:
        if self.over:
            self.over += [self.over[-1]] * ((until - self.next_slot) // SLOT_US)
