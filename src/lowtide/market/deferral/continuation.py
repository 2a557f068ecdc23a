"""Forecasts of a price as decisions use them: whole numbers, with a digest, made at an instant."""

from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import NamedTuple

import orjson

from lowtide.values.canonical import canonical, sha256

POOL = "pool"
"""The policy's name where a task waits for the cheapest of a pool of like offers."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What waiting is expected to cost a task of this slack, by slots left; stored once, under its digest.

    `values_nano[r − 1]` is the reservation price with r slots left, in the series' unit (live: nano-USD of the call of
    `reference.py`); no values at all: run at once. `made_at` lies in the slot whose price was the newest known.
    Instants and `slot_us` in µs.
    """

    pool: str
    policy: str
    made_at: int
    slot_us: int
    slack_slots: int
    values_nano: tuple[int, ...]

    def reservation_nano(self, slots_left: int) -> int | None:
        """The price at or under which waiting ends; None: run at any. More slots left than known wait as if at the last."""
        if slots_left < 1 or not self.values_nano:
            return None
        return self.values_nano[min(slots_left, len(self.values_nano)) - 1]

    def digest(self) -> str:
        """SHA-256 of its canonical JSON, in hex."""
        return _digest(self)

    def line(self) -> bytes:
        """Its canonical JSON, as it is stored and exported."""
        return canonical(asdict(self))


@lru_cache(maxsize=4_096)
def _digest(forecast: Forecast) -> str:
    return sha256(forecast.line()).hex()


def forecast_from_line(line: bytes) -> Forecast:
    """The forecast of its canonical JSON."""
    values = orjson.loads(line)
    return Forecast(**values | {"values_nano": tuple(values["values_nano"])})


class ForecastUse(NamedTuple):
    """The forecast of the price of a row's offer, for a task of some slack; of a pool the cheapest of `members`, by row."""

    row: int
    forecast: Forecast
    members: tuple[int, ...] = ()
