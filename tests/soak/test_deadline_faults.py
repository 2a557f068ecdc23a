"""The long proof that holding misses no deadline: ten thousand simulated weeks of faults (MARKET.md section 9)."""

from collections import Counter

import pytest

from tests.week import misses

RUNS = 10_000


@pytest.mark.soak
def test_12_no_deadline_is_missed_by_holding_in_ten_thousand_weeks_of_faults():
    counts, missed = Counter(), []
    for seed in range(RUNS):
        told, found = misses(seed)
        counts += told
        missed += found
    print(f"{RUNS:,} weeks: {dict(sorted(counts.items()))}")
    assert not missed
    assert counts["held"] > RUNS // 2
