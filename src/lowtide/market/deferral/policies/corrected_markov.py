"""Markov stopping, corrected: four chains, and a ridge that learns what following their median would have cost."""

from lowtide.market.deferral.correction import Correction
from lowtide.market.deferral.policies.markov import CHAINS
from lowtide.market.deferral.policy import Past


class CorrectedMarkov:
    """See `correction`."""

    name = "corrected_markov"
    needs_days = 14
    hears: tuple[str, ...] = tuple(chain.name for chain in CHAINS)

    def fit(self, past: Past, horizon: int) -> Correction:
        return Correction.fitted(past, self.hears, horizon)
