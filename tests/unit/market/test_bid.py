"""What a bid costs (MARKET.md section 3)."""

import pytest

from lowtide.market.quote import PriceStep
from lowtide.values.money import nano
from tests.market_builder import book, decide, offer, task

CHAT = {"input_bytes": 4_800, "usual_output": 300, "max_output": 500}


def bid_of(row, wanted):
    result = decide(wanted, book(row))
    return result.bid(row.offer.id), result.worst(row.offer.id)


def test_the_worked_example_expects_0_000675_and_costs_0_001_at_worst():
    expected, worst = bid_of(offer("A", input="0.25", output="1.25"), task(**CHAT))
    assert (expected, worst) == (nano("0.000675"), nano("0.001"))


def test_a_charge_is_rounded_up_once_and_not_by_its_parts():
    row = offer("A", input=400_000, output=400_000)
    expected, worst = bid_of(row, task(input_bytes=4, usual_output=1, max_output=1))
    assert (expected, worst) == (1, 2)


def test_a_fixed_price_is_charged_as_it_stands():
    assert bid_of(offer("A", "0.000006"), task(**CHAT)) == (6_000, 6_000)


def test_a_fixed_price_comes_on_top_of_the_tokens():
    assert bid_of(offer("A", 7, input="0.25", output="1.25"), task(**CHAT)) == (675_007, 1_000_007)


def test_n_answers_multiply_the_output_and_not_the_input():
    expected, worst = bid_of(offer("A", input="0.25", output="1.25"), task(**CHAT, n=3))
    assert (expected, worst) == (300_000 + 3 * 375_000, 375_000 + 3 * 625_000)


@pytest.mark.parametrize(("unknown", "known"), [("input", "output"), ("output", "input")])
def test_an_unknown_price_is_unpriced_and_never_free(unknown, known):
    result = decide(task(**CHAT), book(offer("A", **{unknown: None, known: "1"})))
    assert (result.outcome, result.loss_reason("A")) == ("unfilled", "unpriced")


def test_a_free_offer_is_free():
    assert bid_of(offer("A"), task(**CHAT)) == (0, 0)


def test_the_worst_case_writes_the_cache_where_that_is_dearer():
    row = offer("A", input="0.25", output="1.25", write="0.50", cached="0.01")
    assert bid_of(row, task(**CHAT)) == (675_000, 1_500 * 500 + 625_000)


def test_a_cheaper_cache_write_does_not_lower_the_worst_case():
    assert bid_of(offer("A", input="0.25", output="1.25", write="0.10"), task(**CHAT)) == (675_000, 1_000_000)


@pytest.mark.parametrize(
    ("input_bytes", "expected", "worst"),
    [
        (4_000, 1_000 * 250 + 375_000, 1_250 * 500 + 500 * 2_500),
        (3_200, 800 * 250 + 375_000, 1_000 * 250 + 625_000),
        (4_004, 1_001 * 500 + 300 * 2_500, 1_252 * 500 + 500 * 2_500),
    ],
)
def test_a_long_context_step_counts_for_the_whole_call_once_it_is_exceeded(input_bytes, expected, worst):
    step = PriceStep(1_000, input=500_000_000, output=2_500_000_000)
    row = offer("A", input="0.25", output="1.25", steps=[step])
    assert bid_of(row, task(**CHAT | {"input_bytes": input_bytes})) == (expected, worst)


def test_of_two_steps_the_last_that_is_exceeded_counts_and_the_worst_case_is_the_dearest_so_far():
    steps = [PriceStep(100, input=900_000_000), PriceStep(500, input=300_000_000)]
    row = offer("A", input="0.25", output="0", steps=steps)
    assert bid_of(row, task(**CHAT)) == (1_200 * 300, 1_500 * 900)


def test_steps_of_one_offer_leave_others_alone():
    stepped = offer("stepped", input="0.25", output="1.25", steps=[PriceStep(100, input=1_000_000_000)])
    result = decide(task(**CHAT), book(offer("plain", input="0.25", output="1.25"), stepped))
    assert (result.bid("plain"), result.worst("plain")) == (675_000, 1_000_000)
    assert (result.bid("stepped"), result.worst("stepped")) == (1_575_000, 2_125_000)


@pytest.mark.parametrize(
    ("fields", "expected_output"),
    [
        ({"max_output": 500}, 250),
        ({"max_output": 501}, 251),
        ({"max_output": 3_000}, 512),
        ({"usual_output": 300, "max_output": 200}, 200),
        ({}, 512),
    ],
)
def test_the_expected_output_is_half_the_limit_until_known_and_never_more_than_the_limit(
    fields, expected_output
):
    assert bid_of(offer("A", output="1"), task(**fields))[0] == expected_output * 1_000


def test_without_a_limit_of_its_own_a_task_takes_the_offers_up_to_4096():
    rows = book(
        offer("small", output="1", max_output_tokens=600), offer("large", output="1", max_output_tokens=9_000)
    )
    result = decide(task(usual_output=5_000), rows)
    assert (result.worst("small"), result.worst("large")) == (600_000, 4_096_000)
    assert (result.bid("small"), result.bid("large")) == (600_000, 4_096_000)


def test_a_wordy_model_with_more_tokens_to_a_byte_costs_more_at_the_same_list_price():
    terse = offer("terse", input="1", output="1")
    wordy = offer("wordy", input="1", output="1", verbosity=4.0, token_ratio=1.5)
    result = decide(task(input_bytes=4_000, usual_output=100, max_output=1_000), book(terse, wordy))
    assert (result.bid("terse"), result.bid("wordy")) == (1_100_000, 1_900_000)


def test_bytes_and_the_token_ratio_round_up():
    assert bid_of(offer("A", input="1", token_ratio=1.000001), task(input_bytes=5)) == (3_000, 4_000)


def test_the_largest_task_at_the_dearest_price_stays_within_64_bits():
    row = offer("A", input="1000", output="1000", context_window=2**23, max_output_tokens=2**21)
    wanted = task(input_bytes=2**24, max_output=2**21)
    expected, worst = bid_of(row, wanted)
    assert worst == 2 * 2**21 * 10**6
    assert 0 < expected <= worst
    assert decide(wanted, book(row)).loss_reason("A") == "over_budget"
