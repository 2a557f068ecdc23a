"""Reputation: what is claimed of a model's quality, what we saw, and the bound (MARKET.md section 7).

Weights are integers in thousandths of an assessment, probabilities in parts per million.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from lowtide.market.offer import Claim

Int64s = NDArray[np.int64]
GENERAL = ""
"""The domain of a model's general record."""
NO_CLAIM = Claim(GENERAL, 700_000, 4)
MAX_PRIOR_SAMPLES = 20
DEFAULT_PRIOR_SAMPLES = 4
_PPM = 1_000_000
_MILLI = 1_000


@dataclass(frozen=True, slots=True)
class Beta:
    """Weights of accepted (alpha) and refused (beta) answers, in thousandths."""

    alpha_milli: int = 0
    beta_milli: int = 0

    @property
    def n_milli(self) -> int:
        """All the weight there is, in thousandths of an assessment."""
        return self.alpha_milli + self.beta_milli


def prior(claim: Claim | None, catalog_prior: Claim | None = None) -> Beta:
    """The record before any answer: the provider's claim, else the catalog's prior, else 0.7 of 4 samples.

    A sample size counts up to 20; none given counts as 4.
    """
    source = claim or catalog_prior or NO_CLAIM
    samples = min(source.sample_size, MAX_PRIOR_SAMPLES) if source.sample_size > 0 else DEFAULT_PRIOR_SAMPLES
    return _beta(source.quality_ppm, samples * _MILLI)


def add(record: Beta, weight_milli: int, accepted: bool) -> Beta:
    """The record with one more assessed answer of that weight."""
    if accepted:
        return Beta(record.alpha_milli + weight_milli, record.beta_milli)
    return Beta(record.alpha_milli, record.beta_milli + weight_milli)


def verified(record: Beta) -> int:
    """The mean of the record, ppm, rounded down; 0 where there is none."""
    return record.alpha_milli * _PPM // record.n_milli if record.n_milli else 0


def z_ppm(confidence_ppm: int) -> int:
    """The standard normal quantile of a confidence, in millionths: 0 at 0.5.

    Raises ValueError where the confidence is not strictly between 0 and 1.
    """
    if not 0 < confidence_ppm < _PPM:
        raise ValueError("a confidence lies between 0 and 1, both excluded")
    return round(NormalDist().inv_cdf(confidence_ppm / _PPM) * _PPM)


def lower_bound_ppm(mean_ppm: int, n_milli: int, z_ppm: int) -> int:
    """Wilson's score bound of a mean seen with weight `n_milli`, ppm, rounded down (Wilson 1927).

    Exactly the mean at z = 0; 0 (or 1,000,000 for negative z) where nothing was seen. Float operations are
    only those that IEEE 754 rounds correctly, so each machine gives the same number.
    """
    if z_ppm == 0:
        return mean_ppm
    if n_milli <= 0:
        return 0 if z_ppm > 0 else _PPM
    p, n, z = mean_ppm / 1e6, n_milli / 1e3, z_ppm / 1e6
    zz = z * z
    root = math.sqrt(p * (1.0 - p) / n + zz / (4.0 * n * n))
    bound = math.floor((p + zz / (2.0 * n) - z * root) / (1.0 + zz / n) * 1e6)
    return max(0, min(bound, mean_ppm if z_ppm > 0 else _PPM))


def lower_bounds(mean_ppm: Int64s, n_milli: Int64s, z_ppm: int) -> Int64s:
    """`lower_bound_ppm` of whole columns, shape (offers,): equal to it in every row."""
    if z_ppm == 0:
        return mean_ppm.copy()
    seen = n_milli > 0
    p, n, z = mean_ppm / 1e6, np.where(seen, n_milli, 1) / 1e3, z_ppm / 1e6
    zz = z * z
    root = np.sqrt(p * (1.0 - p) / n + zz / (4.0 * n * n))
    bound = np.floor((p + zz / (2.0 * n) - z * root) / (1.0 + zz / n) * 1e6).astype(np.int64)
    bound = np.maximum(0, np.minimum(bound, mean_ppm if z_ppm > 0 else _PPM))
    return np.where(seen, bound, 0 if z_ppm > 0 else _PPM)


def quality_of(
    claims: Sequence[Claim], catalog_prior: Claim | None, evidence: Mapping[str, Beta]
) -> tuple[tuple[str, int, int], ...]:
    """(domain, mean ppm, n thousandths) of every domain claimed or seen, the general record ("") first.

    `evidence` holds bare counts by domain, without priors. General record: its prior + the evidence of all
    domains. A domain's record: its prior + its own evidence. Its prior is the claim for it; without one it is
    shrunk towards the general record, taken without this domain's evidence (lest it count twice): Beta(q·k,
    (1−q)·k), with q that record's mean and k its weight, at most 20. A domain not listed has the general
    record.
    """
    claimed = {claim.domain: claim for claim in claims}
    general = prior(claimed.get(GENERAL), catalog_prior)
    pooled = _sum(general, *evidence.values())
    records = [(GENERAL, pooled)]
    for domain in sorted((set(claimed) | set(evidence)) - {GENERAL}):
        own = evidence.get(domain, Beta())
        if domain in claimed:
            start = prior(claimed[domain])
        else:
            others = Beta(pooled.alpha_milli - own.alpha_milli, pooled.beta_milli - own.beta_milli)
            start = _beta(verified(others), min(others.n_milli, MAX_PRIOR_SAMPLES * _MILLI))
        records.append((domain, _sum(start, own)))
    return tuple((domain, verified(record), record.n_milli) for domain, record in records)


def _beta(mean_ppm: int, n_milli: int) -> Beta:
    alpha = (mean_ppm * n_milli + _PPM // 2) // _PPM
    return Beta(alpha, n_milli - alpha)


def _sum(*records: Beta) -> Beta:
    return Beta(sum(record.alpha_milli for record in records), sum(record.beta_milli for record in records))
