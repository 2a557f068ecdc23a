"""The record of an auction and the digest of its book (RECORD.md)."""

import hashlib
from itertools import pairwise

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.random_book import random_book, typical_task
from lowtide.market.auction import CORE
from lowtide.market.book import Book, Row, book_from_lines
from lowtide.market.book_lines import CONDITIONS, ROW, conditions_line, row_line
from lowtide.market.columns import full
from lowtide.market.record import AuctionIds, auction_key, epoch_of, record_line
from lowtide.market.spot import Inputs
from lowtide.market.task import Lists, task_from_values, task_values
from tests.market_builder import NOW, book, decide, offer, quote, task

IDS = AuctionIds("auc_01jd", "task_1", NOW)


def record_of(result):
    return record_line(IDS, result.task, result.book, Inputs(), result.decision)


def lines_of(market: Book) -> list[tuple[int, str, bytes]]:
    return [
        line
        for number, row in enumerate(market.rows)
        for line in (
            (number, CONDITIONS, conditions_line(number, row.conditions)),
            (number, ROW, row_line(number, row.offer, row.quotes)),
        )
    ]


def leaves(value):
    if isinstance(value, dict):
        return [leaf for inner in value.values() for leaf in leaves(inner)]
    return [leaf for inner in value for leaf in leaves(inner)] if isinstance(value, list) else [value]


@pytest.mark.parametrize("offers", [10, 5_000])
def test_a_record_is_about_a_kilobyte_however_many_offers(offers):
    assert len(record_of(decide(typical_task(), random_book(offers)))) <= 1_536


def test_a_record_with_every_field_of_a_long_task_stays_small():
    wanted = task(
        value="0.9", per_second="0.001", fallback="offer_000000", max_cost="0.01", min_quality=0.7, confidence=0.9,
        max_latency=30_000, complete_by=NOW + 10**10, regions=("eu", "us"), features=("tools", "json_schema"),
        lists=Lists(("model-1", "model-2"), None, ("provider-1",)), input_bytes=4_000, usual_output=300,
    )  # fmt: skip
    assert len(record_of(decide(wanted, random_book(1_000)))) <= 1_536


def test_a_record_holds_integers_and_strings_only_and_no_integer_beyond_2_to_the_53():
    for leaf in leaves(orjson.loads(record_of(decide(typical_task(), random_book(300))))):
        assert leaf is None or isinstance(leaf, (int, str))
        assert not isinstance(leaf, bool)
        assert not isinstance(leaf, int) or abs(leaf) <= 2**53


def test_a_record_is_canonical_json():
    line = record_of(decide(typical_task(), random_book(300)))
    assert line == orjson.dumps(orjson.loads(line), option=orjson.OPT_SORT_KEYS)


def test_a_record_says_what_was_decided_from_what():
    record = orjson.loads(
        record_of(decide(task(max_cost=100), book(offer("A", 50), offer("B", 60), version=7)))
    )
    assert (record["type"], record["core"], record["outcome"]) == ("auction", CORE, "awarded")
    assert (record["winner"], record["price"], record["book"]["version"]) == ("A", 50, 7)
    assert record["top"] == [[0, 50, 50], [1, 40, 60]]
    assert record["reasons"] == {"none": 1, "outbid": 1}
    assert record["reasons_digest"] == hashlib.sha256(bytes([0, 20])).hexdigest()


def test_the_reasons_of_a_record_count_every_offer_once():
    record = orjson.loads(record_of(decide(typical_task(), random_book(2_000))))
    assert sum(record["reasons"].values()) == 2_000


def test_the_top_is_the_ten_best_in_order():
    market = book(*(offer(f"o{n}", 1_000 - n) for n in range(40)))
    top = orjson.loads(record_of(decide(task(), market)))["top"]
    assert [row for row, _, _ in top] == list(range(39, 29, -1))
    assert all(above[1] >= below[1] for above, below in pairwise(top))


def test_a_task_is_read_from_its_record_as_it_was():
    wanted = task(
        value=5, per_second=3, fallback="A", max_cost=9, min_quality=0.7, confidence=0.9, max_latency=3, regions=(),
        complete_by=NOW, zero_retention=True, features=("tools",), lists=Lists((), ("p",), ("q",)), n=2, usual_output=4,
    )  # fmt: skip
    assert task_from_values("task_1", orjson.loads(orjson.dumps(task_values(wanted)))) == wanted


def test_the_key_of_an_auction_follows_from_the_seed_of_its_hour_and_its_id():
    assert epoch_of(NOW) <= NOW < epoch_of(NOW) + 3_600_000_000
    assert auction_key(b"seed", "auc_1") == auction_key(b"seed", "auc_1") != auction_key(b"seed", "auc_2")


def test_the_digest_of_a_version_is_over_its_lines_in_row_and_kind_order():
    market = random_book(20)
    hashes = [
        hashlib.sha256(line).digest() for _, _, line in sorted(lines_of(market), key=lambda line: line[:2])
    ]
    assert market.digest == hashlib.sha256(b"".join(hashes)).digest()


def test_a_book_read_from_its_lines_is_the_book():
    market = random_book(50, version=9)
    again = book_from_lines(9, reversed(lines_of(market)))
    assert (again.version, again.rows, again.digest) == (9, market.rows, market.digest)


@pytest.mark.parametrize("missing", [0, 1, 5])
def test_a_book_with_a_line_missing_is_refused(missing):
    lines = lines_of(random_book(3))
    del lines[missing]
    with pytest.raises(ValueError, match="incomplete"):
        book_from_lines(1, lines)


def test_a_line_under_another_rows_number_is_refused():
    (_, kind, line), *rest = lines_of(random_book(2))
    with pytest.raises(ValueError, match="says it is of row"):
        book_from_lines(1, [(1, kind, line), *rest])


@given(st.data())
@settings(max_examples=200)
def test_any_flipped_byte_of_a_book_line_is_found(data):
    market = book(offer("A", 50, input=3, features=("tools",)), offer("B", quotes=[quote(7, 1, 99)]))
    lines = lines_of(market)
    which = data.draw(st.integers(0, len(lines) - 1))
    number, kind, line = lines[which]
    at = data.draw(st.integers(0, len(line) - 1))
    lines[which] = (
        number,
        kind,
        line[:at] + bytes([line[at] ^ data.draw(st.integers(1, 255))]) + line[at + 1 :],
    )
    assert not _is_sound(lines, market.digest)


def _is_sound(lines: list[tuple[int, str, bytes]], digest: bytes) -> bool:
    try:
        return book_from_lines(1, lines).digest == digest
    except (ValueError, KeyError, TypeError):
        return False


STEPS = st.integers(0, 40)


@st.composite
def rows(draw, name: str) -> Row:
    quotes, start = [], draw(STEPS)
    for sequence in range(draw(st.integers(0, 3))):
        end = start + draw(st.integers(1, 20))
        quotes.append(
            quote(draw(st.integers(0, 9)), start, draw(st.sampled_from([end, None])), sequence=sequence)
        )
        start = draw(STEPS)
    domains = draw(st.sampled_from([{"": 0.5}, {"": 0.8, "law": 0.9}, {"law": 0.7}]))
    return offer(
        name, quotes=quotes, quality=domains, latency=draw(st.integers(1, 9)), withdrawn=draw(st.booleans()),
        provider=draw(st.sampled_from(["p", "q"])), regions=draw(st.sampled_from([("eu",), ()])),
        circuit=draw(st.sampled_from(["open", "closed"])),
    )  # fmt: skip


def assert_equal(one: Book, other: Book) -> None:
    assert (one.rows, one.hashes, one.digest) == (other.rows, other.hashes, other.digest)
    assert (one.row_of, one.row_of_key) == (other.row_of, other.row_of_key)
    assert one.columns.table.tolist() == other.columns.table.tolist()
    same = [[a == b for b in one.provider_codes] for a in one.provider_codes]
    assert same == [[a == b for b in other.provider_codes] for a in other.provider_codes]
    for domain in ("", "law", "code"):
        for mine, fresh in zip(one.quality_columns(domain), other.quality_columns(domain), strict=True):
            assert mine.tolist() == fresh.tolist()
    for lists in (Lists(providers=("p",)), Lists(exclude_providers=("p",))):
        assert one.barred(lists).tolist() == other.barred(lists).tolist()
    assert one.outside(("eu",)).tolist() == other.outside(("eu",)).tolist()
    assert one.steps_between(-1, 99) == other.steps_between(-1, 99)
    assert one.rows_stepping(5, 30) == other.rows_stepping(5, 30)


def assert_same_prices(one: Book, at: int) -> None:
    kept, fresh = one.prices_at(at), Book(one.version, one.rows).prices_at(at)
    assert (kept.since, kept.until) == (fresh.since, fresh.until)
    assert full(kept.per_request, len(one)).tolist() == full(fresh.per_request, len(one)).tolist()
    for name in ("input", "output", "worst_input", "unready"):
        assert getattr(kept, name).tolist() == getattr(fresh, name).tolist()
    assert kept.levels == fresh.levels


@given(st.data())
@settings(max_examples=60)
def test_a_next_version_equals_a_fresh_build_and_its_prices_those_from_scratch(data):
    market = book(*(data.draw(rows(f"o{number}")) for number in range(data.draw(st.integers(0, 4)))))
    for version in range(2, 5):
        for at in data.draw(st.lists(STEPS, max_size=4)):
            assert_same_prices(market, at)
        if data.draw(st.booleans()):
            assert_equal(market, Book(market.version, market.rows))
        numbers = (
            data.draw(st.sets(st.integers(0, max(len(market) - 1, 0)), max_size=2)) if len(market) else set()
        )
        changes = {number: data.draw(rows(f"o{number}")) for number in numbers}
        if data.draw(st.booleans()):
            changes[len(market)] = data.draw(rows(f"o{len(market)}"))
        before = (market.rows, market.digest)
        following = market.with_rows(version, changes)
        assert (market.rows, market.digest) == before
        market = following
        assert_equal(market, Book(version, market.rows))
    for at in data.draw(st.lists(STEPS, min_size=1, max_size=6)):
        assert_same_prices(market, at)


def test_a_row_that_would_leave_a_gap_is_refused():
    with pytest.raises(ValueError, match="gap"):
        book(offer("A")).with_rows(2, {2: offer("C")})


def test_prices_are_those_of_the_highest_sequence_that_covers_the_instant():
    quotes = [quote(9, 0, None, sequence=1), quote(5, 10, 20, sequence=2), quote(7, 15, 17, sequence=3)]
    market = book(offer("A", quotes=quotes))
    found = {at: market.prices_at(at).per_request for at in (16, 3, 25, 19, 12, 10, 20)}
    assert found == {16: 7, 3: 9, 25: 9, 19: 5, 12: 5, 10: 5, 20: 9}
