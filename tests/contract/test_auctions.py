"""What an auditor sees: auctions with every bid, why one lost, replay, the export, and who may see what."""

import asyncio
import hashlib
import sqlite3
from typing import Any

import orjson
import pytest

from lowtide.simulate.faults import Fault
from tests.contract.served import HELLO, Served, client_of


async def three_offers(service: Served) -> tuple[str, str, str]:
    """A cheap one, a dear one, and one that is not good enough."""
    good = [{"domain": "general", "quality": 0.9, "sample_size": 100}]
    poor = [{"domain": "general", "quality": 0.5, "sample_size": 100}]
    return (
        await service.offer("cheap", "1", quality_claims=good),
        await service.offer("dear", "2", quality_claims=good),
        await service.offer("poor", "0.5", quality_claims=poor),
    )


async def test_an_auction_shows_every_bid_with_exactly_one_reason(service: Served):
    cheap, dear, poor = await three_offers(service)
    task = await service.done(constraints={"min_quality": 0.8})
    auction = (await service.client.get(f"/v1/auctions/{task['auction_id']}")).json()
    bids = {bid["offer_id"]: bid for bid in auction["bids"]}
    assert (auction["outcome"], auction["winner"], auction["rule"]) == ("awarded", cheap, "posted")
    assert {name: bid["loss_reason"] for name, bid in bids.items()} == {
        cheap: None,
        dear: "outbid",
        poor: "quality_below_floor",
    }
    assert (bids[cheap]["rank"], bids[dear]["rank"], bids[poor]["rank"]) == (1, 2, None)
    assert auction["clearing_price_usd"] == bids[cheap]["bid_usd"] == task["award"]["price_usd"]
    assert bids[poor]["quality"]["claimed"] == 0.5
    assert auction["replay"] == {"identical": True}
    assert "cheap" in auction["explanation"]


async def test_why_says_in_words_why_an_offer_lost_and_what_would_have_won(service: Served):
    cheap, dear, poor = await three_offers(service)
    task = await service.done(constraints={"min_quality": 0.8})
    path = f"/v1/auctions/{task['auction_id']}/why"
    lost = (await service.client.get(path, params={"offer_id": poor})).json()
    assert lost["loss_reason"] == "quality_below_floor"
    assert "prove" in lost["why"]
    outbid = (await service.client.get(path, params={"offer_id": dear})).json()
    winner = (await service.client.get(path, params={"offer_id": cheap})).json()
    assert outbid["bid"]["min_to_win_usd"] == winner["bid"]["bid_usd"]
    unknown = await service.client.get(path, params={"offer_id": "off_none"})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_offer")
    assert (await service.client.get(path)).json()["errors"][0]["pointer"] == "?offer_id"


async def test_auctions_are_listed_newest_first_and_by_their_columns(service: Served):
    await three_offers(service)
    won, unfilled = await service.done(), await service.post(constraints={"models": ["none"]})

    async def ids(query: str) -> list[str]:
        found = await service.client.get(f"/v1/auctions?{query}")
        assert found.status_code == 200, found.text
        return [row["id"] for row in found.json()["data"]]

    assert await ids("") == [unfilled["auction_id"], won["auction_id"]]
    assert await ids("outcome=unfilled") == [unfilled["auction_id"]]
    assert await ids(f"reason={unfilled['reason']}") == [unfilled["auction_id"]]
    assert await ids("provider=poor") == [won["auction_id"]]
    assert await ids(f"task_id={won['id']}") == [won["auction_id"]]
    assert await ids("from=2100-01-01T00:00:00Z") == []
    assert await ids("limit=1") == [unfilled["auction_id"]]


async def test_every_auction_replays_identically_after_the_book_has_moved_on(service: Served):
    cheap, dear, _ = await three_offers(service)
    tasks = [await service.done() for _ in range(3)]
    await service.quote(dear, "0.1")
    await service.client.delete(f"/v1/offers/{cheap}")
    tasks.append(await service.done())
    for task in tasks:
        again = await service.client.post(f"/v1/auctions/{task['auction_id']}/replay")
        assert again.json() == {"identical": True, "auction_id": task["auction_id"]}


async def exported(service: Served) -> list[bytes]:
    """The export's lines."""
    await service.running.sweeps.number_leaves()
    answer = await service.client.get("/v1/auctions/export?format=jsonl")
    assert answer.headers["content-type"] == "application/x-ndjson"
    return answer.content.splitlines()


async def test_the_export_is_the_log_itself_with_book_lines_before_their_first_use(service: Served):
    cheap, _, _ = await three_offers(service)
    first = await service.done()
    await service.quote(cheap, "0.9")
    second = await service.done()
    lines = await exported(service)
    seen_version = 0
    hashes: dict[str, str] = {}
    for raw in lines:
        line = orjson.loads(raw)
        if line["type"] == "row":
            seen_version = max(seen_version, line["from_version"])
        elif line["type"] == "auction":
            assert line["book"]["version"] <= seen_version
            hashes[line["id"]] = hashlib.sha256(b"\x00" + raw).hexdigest()
    for task in (first, second):
        shown = (await service.client.get(f"/v1/auctions/{task['auction_id']}")).json()
        assert hashes[task["auction_id"]] == shown["leaf_hash"]
        assert shown["leaf_index"] is not None
    kinds = [orjson.loads(raw)["type"] for raw in lines]
    assert kinds.count("auction") == kinds.count("settlement") == 2
    assert b"parcel" not in b"".join(lines)


def rewrite(service: Served, table: str, old: bytes, new: bytes) -> None:
    """Change a table's lines behind the market's back; in a thread, for the market may be writing."""
    with sqlite3.connect(str(service.running.market.database.url.database), timeout=5) as other:
        for number, line in other.execute(f"select rowid, line from {table}").fetchall():
            if old in line:
                changed = bytes(line).replace(old, new)
                other.execute(f"update {table} set line = ? where rowid = ?", (changed, number))
    other.close()


async def test_a_changed_figure_of_a_record_is_noticed_by_its_replay(service: Served):
    await three_offers(service)
    task = await service.done()
    record = next(line for raw in await exported(service) if (line := orjson.loads(raw))["type"] == "auction")
    price = record["price"]
    await asyncio.to_thread(
        rewrite, service, "log", f'"price":{price},'.encode(), f'"price":{price - 1},'.encode()
    )
    again = (await service.client.post(f"/v1/auctions/{task['auction_id']}/replay")).json()
    assert again["identical"] is False
    assert again["differences"] == [{"field": "price", "stored": price - 1, "now": price}]
    shown = (await service.client.get(f"/v1/auctions/{task['auction_id']}")).json()
    assert shown["replay"]["identical"] is False


async def test_a_changed_byte_of_a_book_line_is_noticed_when_its_version_is_rebuilt(service: Served):
    await three_offers(service)
    task = await service.done()
    await service.offer("later", "9")
    await asyncio.to_thread(rewrite, service, "book_rows", b'"cheap"', b'"cheat"')
    answer = await service.client.post(f"/v1/auctions/{task['auction_id']}/replay")
    assert (answer.status_code, answer.json()["code"]) == (500, "setup")
    assert "does not match its digest" in answer.json()["detail"]


async def test_each_role_sees_what_it_may(service: Served):
    await three_offers(service)
    task = await service.done()
    auction = task["auction_id"]
    async with (
        await service.key("requester") as requester,
        await service.key("auditor") as auditor,
        await service.key("provider", provider_id=service.provider_ids["cheap"]) as seller,
    ):
        for path in (f"/v1/auctions/{auction}", "/v1/auctions", f"/v1/tasks/{task['id']}"):
            assert (await requester.get(path)).status_code == 200
            assert (await auditor.get(path)).status_code == 200
            assert (await seller.get(path)).status_code == 403
        assert (await requester.get("/v1/auctions/export")).status_code == 403
        assert (await auditor.get("/v1/auctions/export")).status_code == 200
        assert (await auditor.post(f"/v1/auctions/{auction}/replay")).status_code == 200
        assert (await auditor.post("/v1/tasks", json={"input": HELLO})).status_code == 403
        assert (await auditor.delete(f"/v1/tasks/{task['id']}")).status_code == 403
        assert (await requester.delete("/v1/offers/off_x")).status_code == 403


async def test_a_keys_allow_lists_bind_its_tasks(service: Served):
    cheap, dear, _ = await three_offers(service)
    async with await service.key("requester", allow_providers=["dear"]) as client:
        task = await service.post(client=client, wait_s=5)
        assert task["award"]["offer_id"] == dear
        none = await service.post(client=client, constraints={"providers": ["cheap"]})
        assert (none["state"], none["reason"]) == ("unfilled", "not_allowed")
    assert cheap != dear


# Idempotency


def same(key: str) -> dict[str, str]:
    return {"idempotency-key": key}


async def test_the_same_key_and_body_give_the_same_answer_byte_for_byte(service: Served):
    await service.offer()
    body = {"input": HELLO, "wait_s": 5}
    first = await service.client.post("/v1/tasks", json=body, headers=same("k"))
    again = await service.client.post("/v1/tasks", json=body, headers=same("k"))
    assert first.json()["state"] == "succeeded"
    assert again.content == first.content
    assert (again.status_code, again.headers["idempotency-replayed"]) == (201, "true")
    assert service.upstreams.seen("sim").calls == 1


async def test_duplicates_sent_at_once_place_one_task_and_agree_on_the_answer(service: Served):
    await service.offer()
    service.upstreams.fail("sim", Fault("slow_first_token", delay_s=0.2))
    body = {"input": HELLO, "wait_s": 5}
    answers = await asyncio.gather(
        *(service.client.post("/v1/tasks", json=body, headers=same("dup")) for _ in range(8))
    )
    statuses = {answer.status_code for answer in answers}
    assert 201 in statuses
    assert statuses <= {201, 409}
    assert {a.json()["code"] for a in answers if a.status_code == 409} <= {"idempotency_in_progress"}
    assert len({a.content for a in answers if a.status_code == 201}) == 1
    late = await service.client.post("/v1/tasks", json=body, headers=same("dup"))
    assert late.content == next(a.content for a in answers if a.status_code == 201)
    assert service.upstreams.seen("sim").calls == 1
    assert len((await service.client.get("/v1/tasks")).json()["data"]) == 1


async def test_a_repeat_while_the_first_still_waits_gets_the_same_answer(service: Served):
    await service.offer()
    service.upstreams.fail("sim", Fault("slow_first_token", delay_s=0.6))
    body = {"input": HELLO, "wait_s": 5}
    first = asyncio.create_task(service.client.post("/v1/tasks", json=body, headers=same("w")))
    await asyncio.sleep(0.2)
    repeat = await service.client.post("/v1/tasks", json=body, headers=same("w"))
    assert repeat.json()["state"] == "succeeded"
    assert repeat.content == (await first).content


async def test_a_key_belongs_to_its_holder_and_its_path(service: Served):
    await service.offer()
    await service.client.post("/v1/tasks", json={"input": HELLO}, headers=same("k"))
    async with await service.key("requester") as other:
        theirs = await other.post("/v1/tasks", json={"input": HELLO, "wait_s": 1}, headers=same("k"))
        assert theirs.status_code == 201
    elsewhere = await service.client.post("/v1/accounts", json={"name": "a"}, headers=same("k"))
    assert elsewhere.json()["code"] == "idempotency_key_reused"


@pytest.mark.parametrize("what", ["providers", "offers", "quotes", "bulk", "accounts", "keys"])
async def test_every_post_may_be_repeated_safely(service: Served, what: str):
    offer = await service.offer()
    prices = {"input_per_mtok": "3", "output_per_mtok": "3"}
    posts: dict[str, tuple[str, dict[str, Any]]] = {
        "providers": ("/v1/providers", {"name": "p", "base_url": service.upstream_url}),
        "offers": ("/v1/offers", {"provider_id": service.provider_ids["sim"], "model": "other"}),
        "quotes": (f"/v1/offers/{offer}/quotes", {"prices": prices}),
        "bulk": ("/v1/quotes", {"quotes": [{"offer_id": offer, "prices": prices}]}),
        "accounts": ("/v1/accounts", {"name": "a"}),
        "keys": ("/v1/keys", {"role": "auditor"}),
    }
    path, body = posts[what]
    first = await service.client.post(path, json=body, headers=same(what))
    again = await service.client.post(path, json=body, headers=same(what))
    assert (first.status_code, again.status_code) == (201, 201), first.text
    assert again.content == first.content
    if what == "keys":
        async with client_of(service.url, first.json()["key"]) as auditor:
            assert (await auditor.get("/v1/tasks")).status_code == 200


async def test_a_refused_post_leaves_its_key_free(service: Served):
    bad = await service.client.post("/v1/tasks", json={"input": {}}, headers=same("k"))
    assert bad.status_code == 422
    good = await service.client.post("/v1/tasks", json={"input": HELLO}, headers=same("k"))
    assert good.status_code == 201


async def test_a_repeated_post_of_a_key_tells_it_again_though_nothing_keeps_it(service: Served) -> None:
    headers = {"Idempotency-Key": "make-a-key"}
    made = [
        (await service.client.post("/v1/keys", json={"role": "requester"}, headers=headers)).json()
        for _ in range(2)
    ]
    assert made[0] == made[1]
    async with client_of(service.url, made[0]["key"]) as client:
        assert (await client.get("/v1/tasks")).status_code == 200
    async with service.running.market.database.read() as conn:
        for table in ("idempotency_keys", "api_keys"):
            rows = (await conn.exec_driver_sql(f"select * from {table}")).all()
            assert made[0]["key"] not in repr(rows)
