"""Stacked stopping, our own: the learned policies' median, corrected by what following it would have cost.

The two forecast paths err in different weather, Longstaff–Schwartz knows the stopping but not the path, the chains
learn within a week; where they differ, and by how much the price is off all of them, tells who is right.
"""

from lowtide.market.deferral.correction import Correction
from lowtide.market.deferral.policy import Past


class Stacked:
    """See `correction`."""

    name = "stacked"
    needs_days = 20
    hears: tuple[str, ...] = ("forecast_path", "forecast_path_linear", "longstaff_schwartz", "markov_median")

    def fit(self, past: Past, horizon: int) -> Correction:
        return Correction.fitted(past, self.hears, horizon)
