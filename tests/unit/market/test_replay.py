"""A record decides again to the byte, and says so loudly where it does not (RECORD.md)."""

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.random_book import random_book, typical_task
from lowtide.market.auction import CORE, decide
from lowtide.market.book import book_from_lines
from lowtide.market.record import AuctionIds, auction_key, record_line
from lowtide.market.replay import replay
from lowtide.market.spot import Inputs
from lowtide.values.canonical import canonical, leaf_hash
from tests.market_builder import NOW, book, offer, task
from tests.unit.market.test_known_deferral import DEADLINE, stepping
from tests.unit.market.test_record import lines_of

SEED = bytes(range(32))


def recorded(wanted, market, inputs=Inputs(), auction_id="auc_01jd", at=NOW):
    decision = decide(wanted, market, inputs, at, auction_key(SEED, auction_id))
    return record_line(AuctionIds(auction_id, wanted.id, at), wanted, market, inputs, decision)


CASES = {
    "awarded": (typical_task(), random_book(200), Inputs()),
    "second_score": (
        task(value=500, max_cost=300, per_second=2),
        book(offer("A", 50, settles=True), offer("B", 60, health=0.9)),
        Inputs("second_score", reference_cost_nano=90),
    ),
    "tie": (task(), book(*(offer(f"o{n}", 50) for n in range(12))), Inputs()),
    "held": (task(complete_by=DEADLINE, max_cost=1_000), book(stepping(), offer("B", 200)), Inputs()),
    "queued": (task(), book(offer("A", 50), offer("B", 70, withdrawn=True)), Inputs(refused=(0,))),
    "unfilled": (task(max_cost=10, min_quality=0.8, confidence=0.9), book(offer("A", 50)), Inputs()),
    "no offers": (task(), book(), Inputs()),
}


@pytest.mark.parametrize("case", CASES)
def test_every_outcome_replays_to_the_byte(case):
    wanted, market, inputs = CASES[case]
    line = recorded(wanted, market, inputs)
    again = replay(line, market, SEED)
    assert again.identical
    assert again.differences == ()
    assert (again.task, again.inputs) == (wanted, inputs)


@pytest.mark.parametrize("case", CASES)
def test_a_book_rebuilt_from_its_lines_replays_as_well(case):
    wanted, market, inputs = CASES[case]
    rebuilt = book_from_lines(market.version, lines_of(market))
    assert replay(recorded(wanted, market, inputs), rebuilt, SEED).identical


def test_another_price_in_the_book_is_a_difference_that_is_named():
    wanted = task(max_cost=100)
    line = recorded(wanted, book(offer("A", 50), offer("B", 60)))
    again = replay(line, book(offer("A", 51), offer("B", 60)), SEED)
    assert not again.identical
    assert {name for name, _, _ in again.differences} >= {"book", "price", "top"}


def test_another_seed_is_found_where_it_decided_a_tie():
    line = recorded(*CASES["tie"])
    assert not replay(line, CASES["tie"][1], bytes(32)).identical


def test_another_core_is_told_as_such():
    wanted, market, inputs = CASES["awarded"]
    record = orjson.loads(recorded(wanted, market, inputs))
    again = replay(canonical(record | {"core": 0}), market, SEED)
    assert again.differences[0] == ("core_changed", 0, CORE)


def test_a_record_that_is_not_canonical_is_not_identical():
    wanted, market, inputs = CASES["awarded"]
    spaced = orjson.dumps(orjson.loads(recorded(wanted, market, inputs)), option=orjson.OPT_INDENT_2)
    assert replay(spaced, market, SEED).differences == (("line", "not canonical", "canonical"),)


def _is_sound(line, market, leaf):
    """What a verifier does: the leaf, then the replay."""
    if leaf_hash(line) != leaf:
        return False
    return replay(line, market, SEED).identical


@given(st.sampled_from(sorted(CASES)), st.data())
@settings(max_examples=150)
def test_any_flipped_byte_of_a_record_is_found(case, data):
    wanted, market, inputs = CASES[case]
    line = recorded(wanted, market, inputs)
    at = data.draw(st.integers(0, len(line) - 1))
    flipped = line[:at] + bytes([line[at] ^ data.draw(st.integers(1, 255))]) + line[at + 1 :]
    assert _is_sound(line, market, leaf_hash(line))
    assert not _is_sound(flipped, market, leaf_hash(line))


DECIDED = (
    "outcome",
    "winner",
    "price",
    "rule",
    "thin",
    "code",
    "nearest",
    "top",
    "reasons",
    "reasons_digest",
    "deferral",
)


@pytest.mark.parametrize("field", DECIDED)
def test_whatever_was_decided_is_found_by_deciding_again_even_under_a_forged_leaf(field):
    wanted, market, inputs = CASES["awarded"]
    record = orjson.loads(recorded(wanted, market, inputs))
    again = replay(canonical(record | {field: "forged"}), market, SEED)
    assert not again.identical
    assert field in {name for name, _, _ in again.differences}


@given(
    st.lists(
        st.tuples(st.integers(0, 50), st.integers(500_000, 999_999), st.booleans()), min_size=1, max_size=8
    ),
    st.sampled_from(["posted", "second_score"]),
    st.integers(0, 60),
    st.integers(0, 60),
)
@settings(max_examples=150)
def test_random_markets_replay_to_the_byte(offers, rule, value, budget):
    market = book(
        *(offer(f"o{n}", p, quality=q / 1e6, settles=s, latency=0) for n, (p, q, s) in enumerate(offers))
    )
    line = recorded(task(value=value or None, max_cost=budget or None), market, Inputs(rule))
    rebuilt = book_from_lines(market.version, lines_of(market))
    assert replay(line, rebuilt, SEED).identical
