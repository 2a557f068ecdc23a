"""A node that is killed while it holds rounds: no task is lost, none runs or pays twice, none misses its deadline."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest

from lowtide.simulate.faults import Fault
from lowtide.simulate.server import serving
from lowtide.simulate.upstream import Upstreams
from lowtide.values.money import nano
from tests.crash.killing import Node, all_final, check_ledger, rows

COUNT = 36
ROUND_S = 2
SLOW = {"p50_ms": 950, "p95_ms": 950, "tokens_per_second": 10_000}
"""One place that takes a second or so: two calls a round."""


def ahead(seconds: float) -> str:
    """RFC 3339 of an instant so many seconds from now."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).replace(tzinfo=None).isoformat() + "Z"


async def list_offers(node: Node, upstream_url: str, opens_s: int) -> None:
    """One place that is cheap from then on for as long again, and another seller with many who is dear."""
    async with node.client() as client:
        for name, places in (("night", {"concurrency": 1}), ("day", {})):
            body = {"name": name, "base_url": f"{upstream_url}/{name}/v1"}
            provider = (await client.post("/v1/providers", json=body)).json()["id"]
            offer = {"provider_id": provider, "model": "m", "capacity": places, "latency": SLOW}
            offer_id = (await client.post("/v1/offers", json=offer)).json()["id"]
            begin, end = ahead(opens_s), ahead(2 * opens_s)
            windows: list[dict[str, Any]] = [{"price": "8", "valid_until": ahead(3_600)}]
            if name == "night":
                windows = [
                    {"price": "10", "valid_until": begin},
                    {"price": "1", "valid_from": begin, "valid_until": end},
                    {"price": "10", "valid_from": end, "valid_until": ahead(3_600)},
                ]
            for window in windows:
                price = window.pop("price")
                window["prices"] = {"input_per_mtok": price, "output_per_mtok": price}
            pushed = await client.post(f"/v1/offers/{offer_id}/quotes", json={"curve": windows})
            assert pushed.status_code == 201, pushed.text


async def post_tasks(node: Node) -> list[str]:
    """Tasks with a worth that may wait a minute and more; their ids."""
    body = {
        "input": {"messages": [{"role": "user", "content": "Hello"}], "max_output_tokens": 50},
        "constraints": {"complete_within_s": 120, "max_cost_usd": "0.1"},
    }
    async with node.client() as client:
        made = [(await client.post("/v1/tasks", json=body)).json() for _ in range(COUNT)]
    assert {task["state"] for task in made} == {"held"}
    return [task["id"] for task in made]


@pytest.mark.parametrize("kills", [1, pytest.param(3, marks=pytest.mark.soak)])
async def test_tasks_outlive_kills_amid_rounds_and_each_is_done_once_in_time(tmp_path: Path, kills: int):
    random, node = Random(20_261_125), Node(tmp_path / "market.db", ROUND_S)
    upstreams = Upstreams(output_tokens=lambda _body: 30)
    upstreams.fail("night", Fault("slow_first_token", delay_s=0.3))
    async with serving(upstreams) as upstream_url:
        try:
            await node.start()
            await list_offers(node, upstream_url, 3 + 3 * kills)
            ids = await post_tasks(node)
            for _ in range(kills):
                await asyncio.sleep(random.uniform(2.5, 4.5))
                await node.kill()
                await node.start()
            ended = await all_final(node, ids, 100)
            async with node.client() as client:
                for row in rows(tmp_path, "select id from auctions where kind = 'call'"):
                    shown = (await client.get(f"/v1/auctions/{row[0]}")).json()
                    assert shown["replay"] == {"identical": True}
        finally:
            await node.stop()
    assert {task["state"] for task in ended} == {"succeeded"}
    assert all(task["receipt"]["deadline_met"] for task in ended)
    assert rows(tmp_path, "select count(*) from auctions where kind = 'call'")[0][0] >= 1
    paid = {task["id"]: nano(task["receipt"]["paid_usd"]) for task in ended}
    captures = rows(tmp_path, "select task_id, amount_nano from transfers where kind = 'capture'")
    assert sorted(captures) == sorted(paid.items())
    check_ledger(tmp_path)
    assert {row[0] for row in rows(tmp_path, "select in_flight from capacity")} == {0}
    assert upstreams.seen("night").most_at_once <= 1 + kills
    check_places(tmp_path)


def check_places(folder: Path) -> None:
    """Each place in the log is of a round that stands there too, and no round placed a task twice."""
    calls = {row[0] for row in rows(folder, "select id from auctions where kind = 'call'")}
    places = [orjson.loads(row[0]) for row in rows(folder, "select line from log where type = 'place'")]
    assert {place["auction_id"] for place in places} <= calls
    by_round = [(place["auction_id"], place["task_id"]) for place in places]
    assert len(set(by_round)) == len(by_round)
