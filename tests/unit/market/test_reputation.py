"""Quality: priors, evidence, and Wilson's bound (MARKET.md section 7)."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowtide.market.offer import Claim
from lowtide.market.reputation import (
    Beta,
    add,
    lower_bound_ppm,
    lower_bounds,
    prior,
    quality_of,
    verified,
    z_ppm,
)

shares = st.integers(min_value=10, max_value=1_000)
records = st.builds(
    lambda n, share: Beta(n * share // 1_000, n - n * share // 1_000), st.integers(1_000, 1_000_000), shares
)
confidences = st.integers(min_value=500_000, max_value=999_999)
weights = st.integers(min_value=250, max_value=1_000)


def bound(record: Beta, confidence: int) -> int:
    return lower_bound_ppm(verified(record), record.n_milli, z_ppm(confidence))


@pytest.mark.parametrize(
    ("alpha", "beta", "expected"),
    [(2_800, 1_200, 3_878), (19_800, 4_200, 7_058), (97_800, 6_200, 9_032), (38_000, 2_000, 8_855)],
)
def test_the_lower_bound_at_ninety_percent_has_the_rulebooks_values(alpha, beta, expected):
    assert (bound(Beta(alpha, beta), 900_000) + 50) // 100 == expected


def test_a_strict_bound_asks_a_true_95_percent_for_over_a_hundred_answers_to_pass_92():
    z = z_ppm(900_000)
    assert lower_bound_ppm(950_000, 100_000, z) < 920_000 <= lower_bound_ppm(950_000, 135_000, z)


@given(records, confidences, weights)
def test_the_bound_never_falls_with_a_success_nor_rises_with_a_failure(record, confidence, weight):
    before = bound(record, confidence)
    assert bound(add(record, weight, True), confidence) >= before
    assert bound(add(record, weight, False), confidence) <= before


@given(records, confidences)
def test_the_bound_is_at_most_the_mean_from_even_confidence_up(record, confidence):
    assert 0 <= bound(record, confidence) <= verified(record)


@given(records)
def test_at_even_confidence_the_bound_is_the_mean(record):
    assert bound(record, 500_000) == verified(record)


@given(
    st.lists(st.tuples(st.integers(0, 1_000_000), st.integers(0, 10**9)), min_size=1), st.integers(1, 999_999)
)
def test_the_column_of_bounds_equals_each_scalar_bound(rows, confidence):
    z = z_ppm(confidence)
    means, weights_ = (np.array(column, dtype=np.int64) for column in zip(*rows, strict=True))
    assert lower_bounds(means, weights_, z).tolist() == [lower_bound_ppm(mean, n, z) for mean, n in rows]


def test_a_claim_counts_for_at_most_twenty_samples_and_without_a_size_for_four():
    assert prior(Claim("", 950_000, 5_000)) == Beta(19_000, 1_000)
    assert prior(Claim("", 950_000)) == Beta(3_800, 200)


def test_without_a_claim_the_catalogs_prior_counts_and_without_that_seven_tenths_of_four():
    assert prior(None, Claim("", 900_000, 4)) == Beta(3_600, 400)
    assert prior(None, None) == Beta(2_800, 1_200)


def test_a_confidence_of_one_or_zero_has_no_bound():
    for confidence in (0, 1_000_000):
        with pytest.raises(ValueError, match="between 0 and 1"):
            z_ppm(confidence)


def test_a_model_without_evidence_has_its_prior_as_its_general_record():
    assert quality_of((), None, {}) == (("", 700_000, 4_000),)


def test_the_general_record_pools_the_evidence_of_all_domains():
    general = quality_of((), None, {"legal": Beta(6_000, 0), "": Beta(0, 2_000)})[0]
    assert general == ("", 8_800 * 1_000_000 // 12_000, 12_000)


def test_a_domain_without_a_claim_starts_from_the_record_of_the_others_and_counts_its_own_once():
    records = {
        row[0]: row[1:]
        for row in quality_of(
            (), Claim("", 900_000, 4), {"legal": Beta(0, 5_000), "support": Beta(96_000, 0)}
        )
    }
    mean, n = records["legal"]
    assert n == 25_000
    assert 790_000 < mean < 800_000


def test_a_domain_that_is_claimed_starts_from_that_claim():
    records = {row[0]: row[1:] for row in quality_of((Claim("legal", 800_000, 10),), None, {})}
    assert records["legal"] == (800_000, 10_000)
    assert records[""] == (700_000, 4_000)
