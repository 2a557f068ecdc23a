"""The book as a stream over real HTTP: snapshot, changes, resuming, filters, and readers that are too slow."""

import asyncio
import socket
import time
from dataclasses import replace
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.api import book_stream
from lowtide.exchange.book_changes import BookChanges
from lowtide.exchange.seal import Touched
from lowtide.market.book import Book
from tests.contract.served import OPERATOR_KEY, Served, ahead
from tests.contract.sse import listening
from tests.market_builder import offer as row


def price(event, number: int = 0) -> str:
    found: str = event.data["data"][number]["prices"]["input_per_mtok"]
    return found


async def test_a_reader_gets_the_book_and_then_only_what_each_version_changes(service: Served):
    first, second = await service.offer("a", "1"), await service.offer("b", "2")
    async with listening(service.client) as events:
        book = await events.next()
        assert (book.kind, book.id) == ("book", str(book.data["book_version"]))
        assert book.offers == [first, second]
        pushed = (await service.quote(second, "7")).json()
        change = await events.next()
        assert (change.kind, change.id) == ("change", str(pushed["book_version"]))
        assert (change.offers, price(change), change.data["removed"]) == ([second], "7", [])
        await service.quote(first, "8")
        assert (await events.next()).offers == [first]


async def test_a_withdrawn_offer_is_told_as_removed(service: Served):
    offer = await service.offer()
    async with listening(service.client) as events:
        await events.next()
        await service.client.delete(f"/v1/offers/{offer}")
        change = await events.next()
        assert (change.offers, change.data["removed"]) == ([], [offer])


async def test_a_reader_resumes_by_the_id_of_the_last_event_it_saw(service: Served):
    first, second = await service.offer("a", "1"), await service.offer("b", "2")
    async with listening(service.client) as events:
        seen = (await events.next()).id
    await service.quote(first, "3")
    await service.quote(second, "4")
    async with listening(service.client, seen) as events:
        missed = [await events.next(), await events.next()]
    assert [(event.kind, event.offers, price(event)) for event in missed] == [
        ("change", [first], "3"),
        ("change", [second], "4"),
    ]
    async with listening(service.client, after=missed[0].id) as events:
        assert (await events.next()).offers == [second]


@pytest.mark.parametrize("last", ["0", "99999999", "x"])
async def test_an_id_that_the_market_cannot_go_on_from_begins_anew(service: Served, last: str):
    offer = await service.offer()
    changes = service.running.market.keeper.changes = BookChanges()
    changes.begin(service.running.market.keeper.book, service.running.market.now())
    async with listening(service.client, last) as events:
        event = await events.next()
    assert (event.kind, event.offers) == ("book", [offer])


async def test_a_price_step_that_was_missed_is_told_after_resuming(service: Served):
    offer = await service.offer(price=None)
    step = ahead(0.6)
    curve = [
        {"prices": {"input_per_mtok": "5", "output_per_mtok": "5"}, "valid_until": step},
        {"prices": {"input_per_mtok": "6", "output_per_mtok": "6"}, "valid_from": step},
    ]
    await service.client.post(f"/v1/offers/{offer}/quotes", json={"curve": curve})
    async with listening(service.client) as events:
        book = await events.next()
    assert price(book) == "5"
    await asyncio.sleep(0.7)
    async with listening(service.client, book.id) as events:
        change = await events.next()
    assert (change.kind, change.id, price(change)) == ("change", book.id, "6")


async def test_a_filtered_reader_hears_of_what_it_asked_for_alone(service: Served):
    mine = await service.offer("a", "1", model="gpt-x-mini", features=["tools"])
    other = await service.offer("b", "1", model="claude-x")
    async with listening(service.client, model="gpt-*", max_input_per_mtok="4") as events:
        assert (await events.next()).offers == [mine]
        await service.quote(other, "2")
        await service.quote(mine, "3")
        change = await events.next()
        assert (change.offers, price(change)) == ([mine], "3")
        await service.quote(mine, "5")
        change = await events.next()
        assert (change.offers, change.data["removed"]) == ([], [mine])
        await service.quote(mine, "4")
        assert (await events.next()).offers == [mine]


async def test_a_quiet_stream_shows_that_it_lives_and_moves_its_readers_place(
    service: Served, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(book_stream, "KEEP_ALIVE_S", 0.1)
    await service.offer("a", "1", model="mine")
    other = await service.offer("b", "1", model="other")
    async with listening(service.client, model="mine") as events:
        seen = (await events.next()).id
        version = (await service.quote(other, "2")).json()["book_version"]
        with pytest.raises(TimeoutError):
            await events.next(0.6)
        assert int(events.last_id or 0) == version > int(seen or 0)


async def test_an_unknown_filter_is_refused(service: Served):
    answer = await service.client.get("/v1/book/stream?modle=m")
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown_parameter")


async def crowd(service: Served, count: int) -> list[str]:
    """Offers listed together."""
    await service.provider("crowd")
    return list(await asyncio.gather(*(service.offer("crowd", None, model=f"m{n}") for n in range(count))))


async def push_all(service: Served, offers: list[str], price: str) -> float:
    """A curve for each, all in one version: some 3 KB of events an offer; how long it took, s."""
    prices = {"input_per_mtok": price, "output_per_mtok": price}
    marks = [ahead(3_600 * n) for n in range(10)]
    curve = [{"prices": prices, "valid_from": start, "valid_until": end} for start, end in pairwise(marks)]
    started = time.monotonic()
    quotes = [{"offer_id": offer, "curve": curve} for offer in offers]
    answer = await service.client.post("/v1/quotes", json={"quotes": quotes})
    assert answer.status_code == 201, answer.text
    return time.monotonic() - started


class SlowReader:
    """A connection with a tiny buffer that asks for the stream and then reads only when told to."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        assert address.hostname is not None
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        self._socket.connect((address.hostname, address.port))
        self._socket.sendall(
            f"GET /v1/book/stream HTTP/1.1\r\nHost: m\r\nAuthorization: Bearer {OPERATOR_KEY}\r\n\r\n".encode()
        )
        self._socket.settimeout(10)

    def read_to_the_end(self) -> bytes:
        """All that was sent, until the market ends it (the last chunk) or closes."""
        found = b""
        while not found.endswith(b"0\r\n\r\n"):
            piece = self._socket.recv(65_536)
            if not piece:
                break
            found += piece
        self._socket.close()
        return found


async def flood(service: Served, versions: int) -> None:
    """Versions that change every row: some megabytes of events for each reader, more than any socket buffers."""
    keeper = service.running.market.keeper
    for number in range(versions):
        fresh = {
            row.offer.id: replace(row.conditions, health_ppm=900_000 + number) for row in keeper.book.rows
        }

        async def change(_conn: AsyncConnection, touched: Touched, fresh: Any = fresh) -> None:
            touched.conditions |= fresh

        await keeper.publish(change)


async def test_a_slow_reader_is_dropped_with_a_notice_and_slows_nobody(service: Served):
    market = service.running.market
    market.rules = replace(market.rules, reader_patience_s=0.3)
    offers = await crowd(service, 100)
    await push_all(service, offers, "1")
    slow = SlowReader(service.url)
    async with listening(service.client) as events:
        await events.next()
        flooding = asyncio.create_task(flood(service, 40))
        for _ in range(40):
            assert len((await events.next()).offers) == 100
        await flooding
    assert await push_all(service, offers, "2") < 2
    await asyncio.sleep(0.5)
    text = (await asyncio.to_thread(slow.read_to_the_end)).decode()
    assert text.count("event: change") < 40
    assert text.count("event: dropped") == 1
    notice = text[text.index("event: dropped") :]
    assert "too_slow" in notice
    assert "Last-Event-ID" in notice
    last = notice.split('"last_event_id":"')[1].split('"')[0]
    assert f"id: {last}\n" in text
    async with listening(service.client, last) as events:
        event = await events.next()
        assert (event.kind, int(event.id or 0)) == ("change", int(last) + 1)


async def test_a_reader_that_fell_behind_what_is_kept_is_dropped(service: Served):
    market = service.running.market
    offers = await crowd(service, 100)
    await push_all(service, offers, "1")
    market.keeper.changes = BookChanges(most_versions=2)
    market.keeper.changes.begin(market.keeper.book, market.now())
    slow = SlowReader(service.url)
    await asyncio.sleep(0.2)
    await flood(service, 40)
    text = (await asyncio.to_thread(slow.read_to_the_end)).decode()
    assert text.count("event: change") < 40
    assert text.count("event: dropped") == 1


def test_changes_are_bounded_in_versions_and_rows_and_tell_where_they_begin():
    rows = [row(f"o{n}") for n in range(4)]
    changes = BookChanges(most_versions=3, most_rows=6)
    book = Book(1, rows)
    changes.begin(book, 10)
    assert changes.since(1) == (10, [])
    assert changes.since(0) is None
    for version in range(2, 12):
        after = book.with_rows(version, {version % 4: row(f"o{version % 4}", version)})
        changes.add(book, after, 10 * version)
        book = after
    at, newer = changes.since(9) or (0, [])
    assert (at, [sealed.version for sealed in newer]) == (90, [10, 11])
    assert [list(sealed.rows) for sealed in newer] == [[2], [3]]
    assert changes.since(7) is None
    assert changes.since(8) is not None
    assert changes.since(12) is None
    everything = book.with_rows(12, {n: row(f"o{n}", 99) for n in range(4)})
    changes.add(book, everything, 120)
    changes.add(everything, everything.with_rows(13, {n: row(f"o{n}", 98) for n in range(4)}), 130)
    assert changes.since(11) is None
    assert [len(sealed.rows) for sealed in (changes.since(12) or (0, []))[1]] == [4]


def test_versions_of_another_node_that_came_together_are_resumed_from_in_the_middle():
    changes, book = BookChanges(), Book(1, [row("a"), row("b")])
    changes.begin(book, 10)
    jump = book.with_rows(4, {0: row("a", 5), 1: row("b", 6)})
    changes.add(book, jump, 40)
    for version in (1, 2, 3):
        found = changes.since(version)
        assert found is not None
        assert [list(sealed.rows) for sealed in found[1]] == [[0, 1]]
        assert found[0] == 10
