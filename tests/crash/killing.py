"""A node that is killed at random moments while it works, and what must hold in the end."""

import asyncio
import os
import socket
import sqlite3
import sys
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import httpx

from lowtide.simulate.batches import BatchPlan
from lowtide.simulate.faults import Fault
from lowtide.simulate.server import serving
from lowtide.simulate.upstream import Upstreams
from lowtide.values.money import nano

KEY = "lt_operator_of_the_crash_tests"
NODE = Path(__file__).with_name("node.py")
FINAL = {"succeeded", "failed", "expired", "cancelled", "unfilled"}
STEP_S = 2
PLACES = 8
LIVES_A_BATCH = 10
"""New tasks come every so many lives; in each life those of the present batch are posted again."""


class Node:
    """The service as a process, on one SQLite file through all its lives."""

    def __init__(self, database: Path, round_s: int = 900) -> None:
        self._database, self._round_s = database, round_s
        self._process: asyncio.subprocess.Process | None = None
        self.url = ""

    async def start(self) -> None:
        """Start it on a port that is its own from the first and wait until it is ready."""
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        with socket.create_server(("127.0.0.1", 0)) as listening:
            handed = listening.fileno()
            command = [sys.executable, str(NODE), str(self._database), str(handed), KEY, str(self._round_s)]
            self._process = await asyncio.create_subprocess_exec(
                *command, env=environment, pass_fds=(handed,)
            )
            self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        ends = time.monotonic() + 30
        async with self.client() as client:
            while True:
                try:
                    if (await client.get("/readyz")).status_code == 200:
                        return
                except httpx.TransportError:
                    pass
                ended = self._process.returncode
                assert ended is None, f"the node ended by itself with {ended}"
                assert time.monotonic() < ends, "the node is not ready after 30 s"
                await asyncio.sleep(0.03)

    async def kill(self) -> None:
        """SIGKILL: nothing of it gets to finish."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    async def stop(self) -> None:
        """End it if it runs, asking first."""
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), 10)
            except TimeoutError:
                await self.kill()

    def client(self) -> httpx.AsyncClient:
        """An operator's client of its present life."""
        return httpx.AsyncClient(
            base_url=self.url,
            headers={"authorization": f"Bearer {KEY}"},
            timeout=httpx.Timeout(20, connect=2),
        )


def body_of(number: int) -> dict[str, Any]:
    """Every other task may wait for the next cheap hour (here: two seconds), every sixth for a batch."""
    body: dict[str, Any] = {
        "input": {"messages": [{"role": "user", "content": f"Task {number}"}], "max_output_tokens": 50}
    }
    waits_s = 86_400 if number % 6 == 5 else 600
    return body | ({"constraints": {"complete_within_s": waits_s}} if number % 2 else {})


async def list_offer(node: Node, upstream_url: str, lasting_s: int) -> None:
    """One offer with few places, whose price rises and falls every STEP_S seconds; and a batch lane, cheaper still."""
    async with node.client() as client:
        provider = {"name": "sim", "base_url": f"{upstream_url}/sim/v1", "batch_wire": "openai"}
        provider_id = (await client.post("/v1/providers", json=provider)).json()["id"]
        offer = {
            "provider_id": provider_id,
            "model": "m",
            "capacity": {"concurrency": PLACES},
            "latency": {"p50_ms": 200, "p95_ms": 400, "tokens_per_second": 1_000},
        }
        offer_id = (await client.post("/v1/offers", json=offer)).json()["id"]
        lane = {"provider_id": provider_id, "model": "m", "lane": "batch"}
        batch_id = (await client.post("/v1/offers", json=lane)).json()["id"]
        cheap = {"prices": {"input_per_mtok": "0.1", "output_per_mtok": "0.1"}}
        assert (await client.post(f"/v1/offers/{batch_id}/quotes", json=cheap)).status_code == 201
        now, curve = datetime.now(UTC), []
        for step in range(lasting_s // STEP_S):
            price = "10" if step % 2 == 0 else "1"
            edges = [now + timedelta(seconds=STEP_S * (step + more)) for more in (0, 1)]
            begin, end = (edge.replace(tzinfo=None).isoformat() + "Z" for edge in edges)
            prices = {"input_per_mtok": price, "output_per_mtok": price}
            curve.append({"prices": prices, "valid_from": begin, "valid_until": end})
        curve[-1]["valid_until"] = None
        pushed = await client.post(f"/v1/offers/{offer_id}/quotes", json={"curve": curve})
        assert pushed.status_code == 201, pushed.text


async def post_all(node: Node, name: str, count: int, ids: dict[int, str]) -> None:
    """Post every task under its key; what was answered before must be answered with the same task."""
    async with node.client() as client:

        async def post(number: int) -> None:
            headers = {"idempotency-key": f"{name}-{number}"}
            answer = await client.post("/v1/tasks", json=body_of(number), headers=headers)
            assert answer.status_code == 201, answer.text
            task_id = answer.json()["id"]
            assert ids.setdefault(number, task_id) == task_id

        await asyncio.gather(*(post(number) for number in range(count)))


async def one_life(node: Node, name: str, count: int, ids: dict[int, str], until_s: float) -> None:
    """Post all tasks once more and kill the node at a moment within it, be it amid the posting."""
    posting = asyncio.create_task(post_all(node, name, count, ids))
    done, _ = await asyncio.wait({posting}, timeout=until_s)
    await node.kill()
    if done:
        await posting
        return
    try:
        await posting
    except httpx.TransportError:
        return


async def all_final(node: Node, ids: list[str], within_s: float) -> list[dict[str, Any]]:
    """Every task in its final state."""
    ends, found = time.monotonic() + within_s, []
    async with node.client() as client:
        for task_id in ids:
            while (task := (await client.get(f"/v1/tasks/{task_id}")).json())["state"] not in FINAL:
                assert time.monotonic() < ends, f"{task_id} is still {task['state']} ({task['reason']})"
                await asyncio.sleep(0.05)
            found.append(task)
    return found


async def replays(node: Node) -> Counter[bool]:
    """How many auctions replay identically, and how many do not."""
    found: Counter[bool] = Counter()
    async with node.client() as client:
        after = ""
        while True:
            page = (await client.get(f"/v1/auctions?limit=200{after}")).json()
            for row in page["data"]:
                answer = await client.post(f"/v1/auctions/{row['id']}/replay")
                found[answer.json()["identical"]] += 1
            if page["next"] is None:
                return found
            after = f"&after={page['next']}"


@asynccontextmanager
async def killed_market(
    folder: Path, seed: int, kills: int, count: int
) -> AsyncIterator[tuple[Node, Upstreams, list[dict[str, Any]]]]:
    """A market that was killed so often at seeded moments, and all its tasks once they are final."""
    random, node = Random(seed), Node(folder / "market.db")
    ids: defaultdict[int, dict[int, str]] = defaultdict(dict)
    upstreams = Upstreams(output_tokens=lambda _body: 30)
    upstreams.fail("sim", Fault("slow_first_token", delay_s=0.2))
    upstreams.batches.plans["sim"] = BatchPlan(takes_s=0.5)
    async with serving(upstreams) as upstream_url:
        try:
            await node.start()
            await list_offer(node, upstream_url, lasting_s=60 + 8 * kills)
            for life in range(kills):
                batch = life // LIVES_A_BATCH
                await one_life(node, f"{seed}-{batch}", count, ids[batch], random.uniform(0.02, 1.2))
                await node.start()
            # Once more for all: a task may stand whose answer died with the node.
            for batch in range(max(1, -(-kills // LIVES_A_BATCH))):
                await post_all(node, f"{seed}-{batch}", count, ids[batch])
            yield (
                node,
                upstreams,
                await all_final(node, [task for batch in ids.values() for task in batch.values()], 60),
            )
        finally:
            await node.stop()


def rows(folder: Path, query: str) -> list[tuple[Any, ...]]:
    """What stands in the file."""
    with sqlite3.connect(folder / "market.db", timeout=5) as reader:
        return reader.execute(query).fetchall()


async def check_survival(folder: Path, seed: int, kills: int, count: int) -> None:
    """Kill, then see that every task ended once, was paid once, and that nothing was lost or leaked."""
    async with killed_market(folder, seed, kills, count) as (node, upstreams, ended):
        assert {task["state"] for task in ended} == {"succeeded"}
        if count > 1:
            assert any(task["hold"] for task in ended), "no task was ever held: the test shows nothing"
        outcomes = await replays(node)
        assert outcomes[True] >= len(ended)
        assert outcomes[False] == 0
        async with node.client() as client:
            account = (await client.get("/v1/accounts/acct_default")).json()
    paid = {task["id"]: nano(task["receipt"]["paid_usd"]) for task in ended}
    told = {row[0]: row[1] for row in rows(folder, "select id, state from tasks")}
    assert told == dict.fromkeys(paid, "succeeded"), "a task that nobody posted, or one lost"
    captures = rows(folder, "select task_id, amount_nano from transfers where kind = 'capture'")
    assert sorted(captures) == sorted(paid.items()), "captured other than once a task at its answer's cost"
    answered = rows(
        folder, "select task_id, sum(cost_nano) from attempts where state = 'answered' group by 1"
    )
    assert sorted(answered) == sorted(paid.items())
    assert nano(account["spent_usd"]) == sum(paid.values()) > 0
    assert account["authorized_usd"] == "0"
    check_ledger(folder)
    assert rows(folder, "select count(*) from attempts where state = 'started'") == [(0,)]
    assert {row[0] for row in rows(folder, "select in_flight from capacity")} == {0}
    ends = rows(folder, "select task_id, count(*) from events where kind = 'task.succeeded' group by 1")
    assert sorted(ends) == sorted((task_id, 1) for task_id in paid)
    settled = rows(folder, "select count(*) from log where type = 'settlement'")
    assert settled == [(len(paid),)]
    seen = upstreams.seen("sim")
    assert len(set(seen.keys)) == len(seen.keys), "one attempt was sent twice"
    batched = [name for batch in upstreams.batches.of("sim") for name, _ in batch.lines]
    assert len(set(batched)) == len(batched), "one attempt was handed in twice"
    if count > 5:
        assert batched, "no task went into a batch: the test shows nothing"
    assert rows(folder, "select count(*) from batch_items") == [(0,)]


def check_ledger(folder: Path) -> None:
    """Every ledger account's balance, summed from the transfers: all sum to zero, nothing is set aside."""
    balances: Counter[str] = Counter()
    for debit, credit, amount in rows(folder, "select debit, credit, amount_nano from transfers"):
        balances[debit] -= amount
        balances[credit] += amount
    assert sum(balances.values()) == 0
    assert balances["acct:acct_default:authorized"] == 0
