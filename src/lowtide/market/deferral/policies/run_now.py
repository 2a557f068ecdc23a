"""Never wait: what every saving is measured against. With posted prices it is `cheapest_known`."""

from lowtide.market.deferral.policy import Past, Trails, run_now
from lowtide.market.deferral.series import Floats, Series


class RunNow:
    """Runs each task in the slot in which it comes."""

    name = "run_now"
    needs_days = 0
    hears: tuple[str, ...] = ()

    def fit(self, past: Past, horizon: int) -> "_Model":
        return _Model(horizon)


class _Model:
    def __init__(self, horizon: int) -> None:
        self._horizon = horizon

    def values(self, seen: Series, trails: Trails, first: int) -> Floats:
        return run_now(len(seen) - first, self._horizon)


class CheapestKnown(RunNow):
    """Waits for the cheapest slot whose price is posted, and for nothing else."""

    name = "cheapest_known"
