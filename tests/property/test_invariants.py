"""What must always hold of a decision (MARKET.md section 13), on random integer instances."""

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lowtide.market.eligibility import LossReason
from lowtide.market.replay import replay
from lowtide.market.spot import Inputs
from tests.market_builder import KEY, NOW, Result, decide
from tests.property import plain_rules
from tests.property.strategies import (
    Instance,
    any_market,
    drawn,
    exact_totals,
    fixed_totals,
    rolled,
    token_prices,
)
from tests.unit.market.test_replay import SEED, recorded

MARKETS = st.one_of(drawn(fixed_totals), drawn(token_prices), drawn(any_market))
RULES = st.sampled_from(["posted", "second_score"])
FACTORS = [
    Fraction(*pair) for pair in ((1, 3), (1, 2), (3, 4), (11, 12), (13, 12), (5, 4), (3, 2), (2, 1), (3, 1))
]
many = settings(max_examples=150)


def run(instance: Instance, rule: str = "second_score", key: bytes = KEY) -> Result:
    return decide(
        instance.task(), instance.book(), rule=rule, key=key, reference_cost=instance.reference_cost
    )


def reasons_by_name(result: Result) -> dict[str, str | None]:
    return {row.offer.id: result.loss_reason(row.offer.id) for row in result.book.rows}


@given(drawn(any_market))
@settings(max_examples=400)
def test_the_columns_decide_as_the_rulebook_in_plain_python(instance):
    result, wanted = run(instance), instance.task()
    for number, row in enumerate(result.book.rows):
        reason = plain_rules.loss_reason(wanted, row, NOW)
        spot = result.decision.spot
        found = LossReason(int(spot.reason[number]))
        if found != LossReason.BELOW_RESERVE:
            assert (None if found == LossReason.NONE else found.code) == reason
        if reason != "withdrawn":
            expected, worst, _ = plain_rules.costs(wanted, row)
            assert (int(spot.bids.expected[number]), spot.bids.worst_of(number)) == (expected, worst)
            assert int(spot.bids.worst[number]) == worst
            assert int(spot.score[number]) == plain_rules.score(wanted, row, instance.reference_cost)


@given(MARKETS, RULES)
@many
def test_1_the_winner_is_eligible_and_no_eligible_bid_scores_higher(instance, rule):
    result = run(instance, rule)
    spot = result.decision.spot
    still_in = [int(spot.score[n]) for n in range(len(result.book)) if spot.reason[n] == 0]
    assert (result.winner is not None) == bool(still_in)
    if result.winner is not None:
        assert int(spot.reason[result.book.row_of[result.winner]]) == 0
        assert result.score(result.winner) == max(still_in)
        assert [bid.score_nano for bid in result.decision.top] == sorted(still_in, reverse=True)[:10]


@given(MARKETS, RULES)
@many
def test_2_the_price_lies_between_the_bid_and_the_budget(instance, rule):
    result = run(instance, rule)
    if result.winner is not None:
        budget = result.task.constraints.max_cost_nano
        assert result.bid(result.winner) <= result.price
        assert budget is None or result.price <= budget


def lies(instance: Instance, number: int):
    """The instance with one seller's prices misreported by one factor; totals by whole nano-USD."""
    seller = instance.sellers[number]
    if seller.total:
        for total in {*range(1, 80, 3), seller.total - 1, seller.total + 1} - {0, seller.total}:
            yield instance.with_seller(number, total=total)
    else:
        for factor in FACTORS:
            yield instance.with_seller(
                number, input=int(seller.input * factor), output=int(seller.output * factor)
            )


def profitable_lies(instance: Instance, rule: str) -> int:
    """How many misreports earn some seller more than the truth; every seller settles through the market."""
    found = 0
    sellers = tuple(replace(seller, settles=True) for seller in instance.sellers)
    honest = replace(instance, sellers=sellers, wanted=(*instance.wanted, ("fallback", None)))
    truth = run(honest, rule)
    for number, seller in enumerate(sellers):
        cost = truth.bid(seller.name)
        earned = truth.price - cost if truth.winner == seller.name else 0
        for lie in lies(honest, number):
            result = run(lie, rule)
            told = result.price - cost if result.winner == seller.name and not result.thin else 0
            found += told > earned and not truth.thin
    return found


@pytest.mark.parametrize("shape", [fixed_totals, token_prices])
def test_3_nobody_gains_by_misreporting_its_cost_under_second_score(shape):
    @given(drawn(shape))
    @settings(max_examples=40)
    def holds(instance):
        assert profitable_lies(instance, "second_score") == 0

    holds()
    assert sum(profitable_lies(instance, "second_score") for instance in rolled(shape, 60, seed=5)) == 0


@pytest.mark.parametrize("shape", [fixed_totals, token_prices])
def test_3_the_same_test_finds_gains_under_posted_prices(shape):
    assert sum(profitable_lies(instance, "posted") for instance in rolled(shape, 60, seed=5)) > 100


@given(MARKETS, RULES, st.integers(0, 60), st.integers(0, 4), st.integers(1, 1_000))
@many
def test_4_a_lower_price_a_better_quality_or_a_lower_latency_never_loses_a_won_task(
    instance, rule, cheaper, better, faster
):
    won = run(instance, rule)
    assume(won.winner is not None)
    number = won.book.row_of[won.winner]
    seller = instance.sellers[number]
    improvements = {
        "total": max(0, seller.total - cheaper),
        "input": seller.input * (60 - cheaper) // 60,
        "output": seller.output * (60 - cheaper) // 60,
        "quality": min(1_000_000, seller.quality + 50_000 * better),
        "latency": max(0, seller.latency - faster),
    }
    for name, value in improvements.items():
        assert run(instance.with_seller(number, **{name: value}), rule).winner == won.winner


@given(MARKETS, RULES, st.integers(0, 7))
@many
def test_5_removing_a_loser_never_changes_the_winner_and_can_only_raise_its_price(instance, rule, which):
    before = run(instance, rule)
    losers = [seller.name for seller in instance.sellers if seller.name != before.winner]
    assume(before.winner is not None and losers)
    after = run(instance.without(losers[which % len(losers)]), rule)
    assert after.winner == before.winner
    assert after.thin or after.price >= before.price


@given(MARKETS, RULES, st.sampled_from(["withdrawn", "circuit", "modalities"]))
@many
def test_5_an_ineligible_offer_changes_nothing_but_the_list(instance, rule, fault):
    extra = replace(
        instance.sellers[0],
        name="extra",
        total=0,
        input=0,
        output=0,
        listing=((fault, {"withdrawn": True, "circuit": "open", "modalities": ()}[fault]),),
    )
    before, after = run(instance, rule), run(replace(instance, sellers=(extra, *instance.sellers)), rule)
    assert (after.winner, after.price, after.ranking) == (before.winner, before.price, before.ranking)
    seen = reasons_by_name(after)
    assert seen.pop("extra") is not None
    assert seen == reasons_by_name(before)


@given(drawn(exact_totals), RULES, st.integers(2, 9))
@many
def test_6_all_money_times_k_gives_the_same_decision_at_k_times_the_price(instance, rule, k):
    money = ("value", "max_cost", "per_second")
    wanted = tuple((name, v * k if name in money and v is not None else v) for name, v in instance.wanted)
    sellers = tuple(replace(seller, total=seller.total * k) for seller in instance.sellers)
    before = run(instance, rule)
    after = run(Instance(sellers, wanted, instance.reference_cost * k), rule)
    assert (after.outcome, after.winner, after.ranking) == (before.outcome, before.winner, before.ranking)
    assert after.price == (None if before.price is None else before.price * k)
    assert reasons_by_name(after) == reasons_by_name(before)


@given(MARKETS, RULES, st.randoms(use_true_random=False))
@many
def test_7_another_order_of_offers_gives_the_same_decision_rows_renamed(instance, rule, dice):
    shuffled = list(instance.sellers)
    dice.shuffle(shuffled)
    before, after = run(instance, rule), run(replace(instance, sellers=tuple(shuffled)), rule)
    assert (after.outcome, after.winner, after.price) == (before.outcome, before.winner, before.price)
    assert (after.ranking, reasons_by_name(after)) == (before.ranking, reasons_by_name(before))


@given(MARKETS, RULES)
@many
def test_8_every_offer_has_exactly_one_reason_and_only_the_winner_has_none(instance, rule):
    result = run(instance, rule)
    codes = result.decision.reasons.tolist()
    assert len(codes) == len(instance.sellers)
    assert set(codes) <= {reason.value for reason in LossReason}
    assert codes.count(0) == (1 if result.outcome == "awarded" else 0)


@given(MARKETS, RULES)
@many
def test_9_the_same_record_gives_the_same_outcome_byte_for_byte(instance, rule):
    inputs = Inputs(rule, (), instance.reference_cost)
    line = recorded(instance.task(), instance.book(), inputs)
    assert line == recorded(instance.task(), instance.book(), inputs)
    assert replay(line, instance.book(), SEED).identical
