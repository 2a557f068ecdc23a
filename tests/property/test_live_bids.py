"""What must hold of live bids in any market (MARKET.md sections 11 and 13)."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from lowtide.market.live import LiveBid
from lowtide.market.quote import Prices
from lowtide.market.replay import replay
from lowtide.market.spot import Inputs
from tests.market_builder import NOW, decide
from tests.property.strategies import any_market, drawn, fixed_totals, token_prices
from tests.unit.market.test_replay import SEED, recorded

MARKETS = st.one_of(drawn(fixed_totals), drawn(token_prices), drawn(any_market))
RULES = st.sampled_from(["posted", "second_score"])
amounts = st.integers(0, 60)
maybe = st.none() | st.integers(0, 1_000_000)
answers = st.builds(
    LiveBid,
    row=st.integers(0, 7),
    code=st.sampled_from([0, 0, 0, 30, 31, 33, 34]),
    received_at=st.integers(NOW - 50, NOW + 50),
    prices=st.builds(Prices, amounts, amounts, per_request=amounts) | st.none(),
    quality_ppm=maybe,
    p50_ms=maybe,
    p95_ms=maybe,
    valid_until=st.none() | st.integers(NOW - 5, NOW + 5),
)
many = settings(max_examples=150)


def answered(instance, bids, **given):
    live = {bid.row: bid for bid in bids if bid.row < len(instance.sellers)}
    return decide(instance.task(), instance.book(), live=tuple(live.values()), closes_at=NOW, **given)


def outcome(result):
    names = [row.offer.id for row in result.book.rows]
    return (
        result.outcome,
        result.winner,
        result.price,
        result.ranking,
        {name: result.loss_reason(name) for name in names},
    )


@given(MARKETS, RULES, st.lists(answers, min_size=1, max_size=6))
@many
def test_14_a_late_live_bid_never_alters_the_decision(instance, rule, bids):
    late = [replace(bid, code=0, received_at=NOW + 1 + index) for index, bid in enumerate(bids)]
    none = [LiveBid(bid.row, 30) for bid in bids]
    assert outcome(answered(instance, late, rule=rule)) == outcome(answered(instance, none, rule=rule))


@given(MARKETS, RULES, st.lists(answers, max_size=6))
@many
def test_9_live_bids_replay_byte_for_byte(instance, rule, bids):
    live = tuple({bid.row: bid for bid in bids if bid.row < len(instance.sellers)}.values())
    inputs = Inputs(rule, (), instance.reference_cost, live, NOW)
    again = replay(recorded(instance.task(), instance.book(), inputs), instance.book(), SEED)
    assert again.identical


@given(MARKETS, RULES, st.lists(answers, min_size=1, max_size=6))
@many
def test_2_nobody_is_ranked_above_its_standing_quote(instance, rule, bids):
    standing, result = (
        decide(instance.task(), instance.book(), rule=rule),
        answered(instance, bids, rule=rule),
    )
    for name in result.ranking:
        assert result.bid(name) <= standing.bid(name)


@given(MARKETS, RULES, st.lists(answers, min_size=1, max_size=6))
@many
def test_8_every_offer_has_exactly_one_reason_however_its_bidder_answers(instance, rule, bids):
    result = answered(instance, bids, rule=rule)
    codes = result.decision.reasons.tolist()
    assert codes.count(0) == (1 if result.outcome == "awarded" else 0)


@given(MARKETS, RULES, st.lists(answers, min_size=1, max_size=6))
@many
def test_a_bid_at_the_standing_quote_without_claims_decides_as_the_quote_itself(instance, rule, bids):
    market = instance.book()
    same = [
        LiveBid(bid.row, 0, NOW, market.quote_at(bid.row, NOW).prices)
        for bid in bids
        if bid.row < len(market) and market.quote_at(bid.row, NOW) is not None
        if market.quote_at(bid.row, NOW).prices.known
    ]
    assert outcome(answered(instance, same, rule=rule)) == outcome(decide(instance.task(), market, rule=rule))


@given(MARKETS, RULES, st.integers(0, 7), maybe, maybe, maybe)
@many
def test_a_claim_never_makes_a_bid_better(instance, rule, row, quality, p50, p95):
    market = instance.book()
    quoted = market.quote_at(row, NOW) if row < len(market) else None
    if quoted is None or not quoted.prices.known:
        return
    claim = LiveBid(row, 0, NOW, quoted.prices, quality, p50, p95)
    name = market.rows[row].offer.id
    claimed, silent = answered(instance, [claim], rule=rule), decide(instance.task(), market, rule=rule)
    assert claimed.score(name) <= silent.score(name)
    if silent.loss_reason(name) not in (None, "outbid", "lost_tie"):
        assert claimed.loss_reason(name) not in (None, "outbid", "lost_tie")
