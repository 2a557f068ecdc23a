"""How long each provider's batches take, learned from those that came back; by the hour where enough are known."""

from collections.abc import Iterable, Mapping, Sequence

from lowtide.market.batch_times import LEVELS_PPM, BatchTimes
from lowtide.values.instants import DAY_US, HOUR_US

KEPT_US = 30 * DAY_US
PRIOR_MS = tuple(minutes * 60_000 for minutes in (10, 20, 60, 180, 480, 840, 1_440))
"""Before any is known: an hour is usual ("most batches finish in less than 1 hour", Anthropic's documentation), a day is
what is promised."""
PRIOR_WEIGHT = 7
"""The prior counts as so many batches, one at each level."""
ENOUGH_IN_AN_HOUR = 10


class BatchTimesBook:
    """What is known of the providers that take batches; refreshed by a sweep."""

    def __init__(self) -> None:
        self._sellers: tuple[str, ...] = ()
        self._took: dict[str, list[tuple[int, int]]] = {}

    def learn(self, sellers: Sequence[str], ended: Iterable[tuple[str, int, int]]) -> None:
        """Take over who sells, and which batches (provider, sent and ended, µs) came back."""
        took: dict[str, list[tuple[int, int]]] = {}
        for name, sent, end in ended:
            took.setdefault(name, []).append((sent, (end - sent) // 1_000))
        self._sellers, self._took = tuple(sellers), took

    def now(self, at: int) -> tuple[BatchTimes, ...]:
        """How long batches that are handed in at an instant (µs) take."""
        return tuple(BatchTimes(name, _quantiles(self._took.get(name, ()), at)) for name in self._sellers)

    def samples(self) -> Mapping[str, int]:
        """How many batches are known of each seller."""
        return {name: len(self._took.get(name, ())) for name in self._sellers}


def _quantiles(took: Sequence[tuple[int, int]], at: int) -> tuple[int, ...]:
    hour = at // HOUR_US % 24
    alike = [ms for sent, ms in took if (sent // HOUR_US % 24 - hour) % 24 in (0, 1, 23)]
    known = alike if len(alike) >= ENOUGH_IN_AN_HOUR else [ms for _, ms in took]
    ordered = sorted([*known, *PRIOR_MS])
    return tuple(ordered[min(len(ordered) - 1, level * len(ordered) // 1_000_000)] for level in LEVELS_PPM)
