"""Money: exact at the edge, integers inside."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowtide.values.errors import BadMoney
from lowtide.values.money import nano, usd


@given(st.integers(min_value=-(10**24), max_value=10**24))
def test_every_amount_comes_back_as_it_went(amount):
    if abs(amount) <= 10**24:
        assert nano(usd(amount)) == amount


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("0.0000000001", "too_precise"),
        ("1." + "0" * 40 + "1", "too_precise"),
        ("nan", "not_a_number"),
        ("Infinity", "not_a_number"),
        ("a lot", "not_a_number"),
        ("1e16", "out_of_range"),
    ],
)
def test_what_is_no_exact_amount_is_refused_by_name(text, code):
    with pytest.raises(BadMoney) as refused:
        nano(text)
    assert refused.value.code == code


def test_trailing_zeros_are_not_precision():
    assert nano("0.25" + "0" * 20) == 250_000_000
