"""Two nodes on one PostgreSQL: one book, one queue of held work, nothing run twice, a dead node's work taken over."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from lowtide.api.server import create_api
from lowtide.app import Running, attach, read_settings, running_market
from lowtide.exchange.recover import recover
from lowtide.simulate.faults import Fault
from lowtide.simulate.server import serving
from lowtide.simulate.upstream import Upstreams
from lowtide.store import attempts, tasks
from lowtide.values.instants import micros, rfc3339
from tests.contract.served import HELLO, OPERATOR_KEY, client_of
from tests.contract.sse import listening
from tests.databases import PostgresDatabases
from tests.postgres import postgres_server


@pytest.fixture(scope="module")
def databases() -> Iterator[PostgresDatabases]:
    with postgres_server() as url:
        found = PostgresDatabases(url)
        yield found
        found.close()


@pytest.fixture
async def fleet(
    databases: PostgresDatabases, upstream_url: str
) -> AsyncIterator[tuple[list[Running], list[httpx.AsyncClient]]]:
    """Two nodes of one market, with one offer."""
    url = await databases.fresh()
    settings = read_settings(
        {"LOWTIDE_DATABASE_URL": url, "LOWTIDE_OPERATOR_KEY": OPERATOR_KEY, "LOWTIDE_ALLOW_PRIVATE_URLS": "1"}
    )
    async with AsyncExitStack() as stack:
        nodes, clients = [], []
        for _ in range(2):
            running = await stack.enter_async_context(running_market(settings, stocked=False))
            app = create_api()
            attach(app, running)
            address = await stack.enter_async_context(serving(app))
            nodes.append(running)
            clients.append(await stack.enter_async_context(client_of(address, OPERATOR_KEY)))
        provider = (
            await clients[0].post("/v1/providers", json={"name": "sim", "base_url": f"{upstream_url}/sim/v1"})
        ).json()
        await clients[0].post("/v1/offers", json={"provider_id": provider["id"], "model": "m"})
        yield nodes, clients
    await databases.drop(url)


async def offer_id(client: httpx.AsyncClient) -> str:
    found: str = (await client.get("/v1/offers")).json()["data"][0]["id"]
    return found


async def push_steps(client: httpx.AsyncClient, step_s: float, offer: str | None = None) -> int:
    """A price that halves in so many seconds; the book version that has it."""
    step = datetime.now(UTC) + timedelta(seconds=step_s)
    later = {"prices": {"input_per_mtok": "1", "output_per_mtok": "1"}, "valid_from": rfc3339(step)}
    later["valid_until"] = rfc3339(step + timedelta(hours=1))
    now = {"prices": {"input_per_mtok": "2", "output_per_mtok": "2"}, "valid_until": rfc3339(step)}
    offer = offer or await offer_id(client)
    pushed = await client.post(f"/v1/offers/{offer}/quotes", json={"curve": [now, later]})
    assert pushed.status_code == 201, pushed.text
    version: int = pushed.json()["book_version"]
    return version


async def caught_up(running: Running, version: int) -> None:
    ends = time.monotonic() + 10
    while running.market.keeper.book.version < version:
        assert time.monotonic() < ends, "the other node does not follow"
        await asyncio.sleep(0.02)


async def test_a_price_pushed_at_one_node_is_in_the_book_of_the_other(
    fleet: tuple[list[Running], list[httpx.AsyncClient]],
) -> None:
    nodes, clients = fleet
    await caught_up(nodes[1], await push_steps(clients[0], 3_600))
    books = [(await client.get("/v1/book")).json() for client in clients]
    assert books[0]["digest"] == books[1]["digest"]
    assert books[1]["data"][0]["prices"]["input_per_mtok"] == "2"


async def test_a_stream_at_one_node_tells_what_another_sealed_and_resumes_there(
    fleet: tuple[list[Running], list[httpx.AsyncClient]],
) -> None:
    nodes, clients = fleet
    await caught_up(nodes[1], nodes[0].market.keeper.book.version)
    async with listening(clients[1]) as events:
        seen = await events.next()
        version = await push_steps(clients[0], 3_600)
        change = await events.next(10)
        assert (change.kind, change.id) == ("change", str(version))
        assert change.data["data"][0]["prices"]["input_per_mtok"] == "2"
    async with listening(clients[0], seen.id) as events:
        assert (await events.next()).id == str(version)


async def test_held_work_is_released_once_whichever_node_sees_it(
    fleet: tuple[list[Running], list[httpx.AsyncClient]], upstreams: Upstreams
) -> None:
    nodes, clients = fleet
    await caught_up(nodes[1], await push_steps(clients[0], 6))
    # A second that costs something is not waited for beyond the step, so all are due at the same instant.
    body = {
        "input": HELLO,
        "constraints": {"complete_within_s": 120},
        "objective": {"per_second_usd": "0.000000001"},
    }
    posted = [(await clients[number % 2].post("/v1/tasks", json=body)).json() for number in range(12)]
    assert {task["state"] for task in posted} == {"held"}

    ends = time.monotonic() + 30
    while True:
        seen = [(await clients[0].get(f"/v1/tasks/{task['id']}")).json() for task in posted]
        if {task["state"] for task in seen} == {"succeeded"}:
            break
        assert time.monotonic() < ends, [task["state"] for task in seen]
        await asyncio.sleep(0.1)
    assert all(len(task["attempts"]) == 1 for task in seen)
    assert upstreams.seen("sim").answered == 12
    for task in seen:
        again = await clients[1].post(f"/v1/auctions/{task['auction_id']}/replay")
        assert again.json()["identical"] is True


async def test_what_a_dead_node_left_running_is_taken_over_by_the_other(
    fleet: tuple[list[Running], list[httpx.AsyncClient]], upstreams: Upstreams
) -> None:
    nodes, clients = fleet
    await caught_up(nodes[1], await push_steps(clients[0], 3_600))
    upstreams.fail("sim", Fault("hang", times=1))
    task = (await clients[0].post("/v1/tasks", json={"input": HELLO})).json()
    assert task["state"] == "running"
    for _ in range(500):
        if upstreams.seen("sim").calls:
            break
        await asyncio.sleep(0.01)
    # The node dies: its calls stop, and its sign of life is never renewed.
    await nodes[0].dispatcher.close(grace_s=0)
    long_after = micros(datetime.now(UTC) + timedelta(minutes=5))
    await nodes[1].sweeps.life()
    assert await recover(nodes[1].market, nodes[1].dispatcher, long_after) == 1
    await nodes[1].dispatcher.idle()

    async with nodes[1].market.database.read() as conn:
        row = await tasks.get_task(conn, task["id"])
        tried = await attempts.of_task(conn, task["id"])
    assert row is not None
    assert row.state == "succeeded"
    assert [attempt.state for attempt in tried] == ["unknown", "answered"]
    assert tried[0].possibly_billed_twice


async def test_a_bidder_that_one_node_registered_is_asked_by_the_others_within_a_second_or_so(fleet):
    nodes, clients = fleet
    offer = await offer_id(clients[0])
    price = {"prices": {"input_per_mtok": "1", "output_per_mtok": "1"}}
    version = (await clients[0].post(f"/v1/offers/{offer}/quotes", json=price)).json()["book_version"]
    await caught_up(nodes[1], version)
    provider = (await clients[0].get("/v1/providers")).json()["data"][0]["id"]
    body = {"provider_id": provider, "kind": "live", "bid_url": "http://127.0.0.1:9/", "notify": []}
    feed = (await clients[0].post("/v1/feeds", json=body)).json()["id"]
    assert nodes[0].market.bidders.active
    ends = time.monotonic() + 5
    while not nodes[1].market.bidders.active:
        assert time.monotonic() < ends, "the other node never learnt of the bidder"
        await asyncio.sleep(0.05)
    task = (await clients[1].post("/v1/tasks", json={"input": HELLO})).json()
    assert (task["state"], task["reason"]) == ("queued", "bid_timeout")
    await clients[1].delete(f"/v1/feeds/{feed}")
    assert not nodes[1].market.bidders.active
    ends = time.monotonic() + 10
    while (await clients[0].get(f"/v1/tasks/{task['id']}")).json()["state"] != "succeeded":
        assert time.monotonic() < ends, "it was not released once nobody is asked any more"
        await asyncio.sleep(0.05)


async def test_a_node_that_starts_knows_the_bidders_that_stand(fleet):
    nodes, clients = fleet
    provider = (await clients[0].get("/v1/providers")).json()["data"][0]["id"]
    body = {"provider_id": provider, "kind": "live", "bid_url": "http://127.0.0.1:9/"}
    await clients[0].post("/v1/feeds", json=body)
    settings = read_settings(
        {"LOWTIDE_DATABASE_URL": str(nodes[0].market.database.url.render_as_string(False))}
    )
    async with running_market(settings, stocked=False, ticking=False) as third:
        assert third.market.bidders.active


async def test_of_two_nodes_one_holds_the_round_of_a_slot(fleet) -> None:
    nodes, clients = fleet
    slow = {
        "capacity": {"concurrency": 1},
        "latency": {"p50_ms": 299_000, "p95_ms": 299_000, "tokens_per_second": 1_000},
    }
    provider_id = (await clients[0].get("/v1/providers")).json()["data"][0]["id"]
    listing = {"provider_id": provider_id, "model": "n", **slow}
    listed = (await clients[0].post("/v1/offers", json=listing)).json()["id"]
    await caught_up(nodes[1], await push_steps(clients[0], 3_600, listed))
    body = {"input": HELLO, "constraints": {"complete_within_s": 2 * 3_600, "max_cost_usd": "0.1"}}
    posted = [(await clients[number % 2].post("/v1/tasks", json=body)).json() for number in range(12)]
    assert {task["state"] for task in posted} == {"held"}
    for node in nodes:
        # They looked when they began, and nothing was held then.
        node.sweeps._rounds._done_slot = None
    for _ in range(2):
        await asyncio.gather(*(node.sweeps.rounds() for node in nodes))
    auctions = (await clients[1].get("/v1/auctions?limit=200")).json()["data"]
    held = [auction["id"] for auction in auctions if auction["kind"] == "call"]
    assert len(held) == 1
    assert {node.market.scarcity.last.auction_id for node in nodes} == set(held)
    shown = (await clients[1].get(f"/v1/auctions/{held[0]}")).json()
    # Some may have been started already, lest the rest be left too little room.
    assert shown["cleared"]["tasks"] > 3
    assert shown["cleared"]["placed"] > 0
    assert shown["replay"] == {"identical": True}


async def test_what_one_node_runs_on_a_spot_lane_counts_at_the_other(
    fleet: tuple[list[Running], list[httpx.AsyncClient]], upstreams: Upstreams, upstream_url: str
) -> None:
    nodes, clients = fleet
    made = await clients[0].post(
        "/v1/providers", json={"name": "idle", "base_url": f"{upstream_url}/idle/v1"}
    )
    listed = {"provider_id": made.json()["id"], "model": "m", "lane": "spot"}
    spot = (await clients[0].post("/v1/offers", json=listed)).json()["id"]
    await push_steps(clients[0], 3_600)
    cheap = {"prices": {"input_per_mtok": "0.1", "output_per_mtok": "0.1"}}
    await clients[0].post(f"/v1/offers/{spot}/quotes", json=cheap)
    upstreams.fail("idle", Fault("hang"))
    body = {"input": HELLO, "constraints": {"complete_within_s": 600}, "wait_s": 0}
    posted = [(await clients[0].post("/v1/tasks", json=body)).json() for _ in range(3)]
    assert {task["award"]["offer_id"] for task in posted} == {spot}
    here, there = (node.market.held.nets for node in nodes)
    await caught_up(nodes[1], nodes[0].market.keeper.book.version)
    await nodes[1].sweeps.press()
    assert (len(here), len(there)) == (3, 3)
    assert all(there.slot_of(task["id"]) == here.slot_of(task["id"]) for task in posted)
    for task in posted:
        await clients[0].delete(f"/v1/tasks/{task['id']}")
    await nodes[1].sweeps.press()
    assert (len(here), len(there)) == (0, 0)
