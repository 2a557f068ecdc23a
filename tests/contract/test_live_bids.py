"""Live bids over real HTTP: who is asked what, what its answer does, and what it does to nobody else."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from fastapi import FastAPI, Request, Response

from lowtide.exchange import bidder as bidders
from lowtide.exchange import live as asking
from lowtide.exchange import notices as telling
from lowtide.exchange.live import Bidders
from lowtide.simulate.faults import Fault
from lowtide.simulate.server import serving
from lowtide.store import log
from lowtide.values.webhooks import BadSignature, verify
from lowtide.wire.transport import Transport
from tests.contract.served import HELLO, Served, ahead

EXAMPLE = Path(__file__).parents[2] / "examples" / "bidder.py"
PATIENT_MS = 3_000
"""For bidders that are to answer in time whatever else this machine does."""


@dataclass
class Bidding:
    """A bidder under test: what it answers, what it was asked, and the notices that it got."""

    url: str = ""
    share: float | None = 0.5
    status: int = 200
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    refuse_notices: int = 0
    requests: list[dict[str, Any]] = field(default_factory=list)
    received: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    notices: list[dict[str, Any]] = field(default_factory=list)
    tried: list[str] = field(default_factory=list)
    secret: str = ""

    def app(self) -> FastAPI:
        """It as a server."""
        app = FastAPI()

        @app.post("/bid")
        async def bid(request: Request) -> Response:
            raw = await request.body()
            self.received.append((dict(request.headers), raw))
            self.requests.append(orjson.loads(raw))
            await asyncio.sleep(self.delay_s)
            if self.body is not None or self.status != 200:
                return Response(self.body or b"", self.status, self.headers)
            return Response(orjson.dumps(self._bids(self.requests[-1])), headers=self.headers)

        @app.post("/notices")
        async def notice(request: Request) -> Response:
            raw = await request.body()
            self.tried.append(verify(self.secret, request.headers, raw, int(time.time())))
            if len(self.tried) <= self.refuse_notices:
                return Response(status_code=500)
            self.notices.append(orjson.loads(raw))
            return Response(status_code=204)

        return app

    def _bids(self, request: dict[str, Any]) -> dict[str, Any]:
        share = self.share or 0
        return {
            "bids": [
                {
                    "offer_id": offer["offer_id"],
                    "prices": {
                        name: f"{float(price) * share:.6f}" for name, price in offer["prices"].items()
                    },
                }
                for offer in request["offers"]
            ]
        }

    async def told(self, kind: str, within_s: float = 15.0) -> dict[str, Any]:
        """The first notice of a kind."""
        ends = time.monotonic() + within_s
        while not (found := [one for one in self.notices if one["type"] == kind]):
            assert time.monotonic() < ends, f"no {kind} among {self.notices}"
            await asyncio.sleep(0.03)
        return found[0]


@pytest.fixture
async def bidder() -> AsyncIterator[Bidding]:
    bidding = Bidding()
    async with serving(bidding.app()) as url:
        bidding.url = url
        yield bidding


async def registered(service: Served, bidding: Bidding, provider: str = "sim", **fields: Any) -> str:
    body = {
        "provider_id": service.provider_ids[provider],
        "kind": "live",
        "bid_url": f"{bidding.url}/bid",
        "timeout_ms": PATIENT_MS,
        "notify": [],
        **fields,
    }
    made = await service.client.post("/v1/feeds", json=body)
    assert made.status_code == 201, made.text
    bidding.secret = made.json()["secret"]
    return made.json()["id"]


async def bids_of(service: Served, task: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The task's auction: replayed, its bids by offer."""
    found = (await service.client.get(f"/v1/auctions/{task['auction_id']}")).json()
    assert found["replay"]["identical"], found["replay"]
    replayed = await service.client.post(f"/v1/auctions/{task['auction_id']}/replay")
    assert replayed.json()["identical"]
    return {bid["offer_id"]: bid for bid in found["bids"]}


@asynccontextmanager
async def example_bidder(secret: str, port: int) -> AsyncIterator[asyncio.StreamReader]:
    running = await asyncio.create_subprocess_exec(
        sys.executable, str(EXAMPLE), "--port", str(port), "--secret", secret, stdout=asyncio.subprocess.PIPE
    )
    assert running.stdout is not None
    try:
        assert "listening" in json.loads(await asyncio.wait_for(running.stdout.readline(), 20))
        yield running.stdout
    finally:
        with suppress(ProcessLookupError):
            running.terminate()
        await running.wait()


async def free_port() -> int:
    server = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port


async def test_the_reference_bidder_wins_at_its_bid_and_is_told(service):
    live = await service.offer("sim", "1")
    await service.offer("rival", "0.9")
    port = await free_port()
    base = f"http://127.0.0.1:{port}"
    made = Bidding(url=base)
    await registered(service, made, notices_url=f"{base}/notices", notify=["won", "lost", "settled"])
    async with example_bidder(made.secret, port) as said:
        task = await service.done()
        assert (task["state"], task["award"]["offer_id"]) == ("succeeded", live)
        bid = (await bids_of(service, task))[live]
        assert (bid["unit_prices"]["input_per_mtok"], bid["unit_prices"]["output_per_mtok"]) == ("0.8", "0.8")
        assert bid["live"]["received_at"] is not None
        usage = task["result"]["usage"]
        cost = (usage["input_tokens"] + usage["output_tokens"]) * 0.8 / 1e6
        assert float(task["receipt"]["paid_usd"]) == pytest.approx(cost)
        won, settled = [json.loads(await asyncio.wait_for(said.readline(), 20)) for _ in range(2)]
    assert (won["type"], won["auction_id"], won["offer_id"]) == ("bid.won", task["auction_id"], live)
    assert (won["bid_usd"], won["price_usd"]) == (task["award"]["bid_usd"], task["award"]["price_usd"])
    assert (settled["type"], settled["paid_usd"]) == ("bid.settled", task["receipt"]["paid_usd"])


async def test_the_reference_bidder_answers_nobody_but_the_market(service):
    await service.offer("sim", "1")
    port = await free_port()
    made = Bidding(url=f"http://127.0.0.1:{port}")
    await registered(service, made)
    async with example_bidder("whsec_AAAA", port):
        task = await service.post()
        bid = next(iter((await bids_of(service, task)).values()))
    assert (bid["loss_reason"], bid["live"]["said"]) == ("bid_invalid", "http_401")


async def test_a_bidder_hears_what_the_task_needs_and_neither_prompt_nor_money(service, bidder):
    offer = await service.offer("sim", "1")
    await registered(service, bidder)
    await service.done(
        task_type="support.reply",
        constraints={"max_cost_usd": "0.777", "min_quality": 0.5, "max_latency_ms": 50_000},
        objective={"value_usd": "0.888", "per_second_usd": "0.000999"},
        labels={"team": "secret-team"},
    )
    (request,), ((headers, raw),) = bidder.requests, bidder.received
    assert verify(bidder.secret, headers, raw, int(time.time())) == request["auction_id"]
    with pytest.raises(BadSignature):
        verify(bidder.secret, headers, raw + b" ", int(time.time()))
    for untold in (b"parcel", b"0.777", b"0.888", b"0.000999", b"secret-team", b"acct_", b"task_0"):
        assert untold not in raw
    assert request["task"]["task_type"] == "support.reply"
    assert (request["task"]["min_quality"], request["task"]["max_latency_ms"]) == (0.5, 50_000)
    assert 0 < request["timeout_ms"] < PATIENT_MS
    (asked,) = request["offers"]
    assert asked["offer_id"] == offer
    assert asked["prices"] == {"input_per_mtok": "1", "output_per_mtok": "1"}
    assert asked["input_tokens"] > 0


async def test_a_prompt_is_shared_where_its_requester_says_so(service, bidder):
    await service.offer("sim", "1")
    await registered(service, bidder)
    await service.done(share_input=True)
    assert bidder.requests[0]["input"]["messages"] == HELLO["messages"]
    await service.done(share_input=False)
    assert "input" not in bidder.requests[1]


async def test_bidders_are_asked_for_offers_that_could_win_and_that_they_bid_for(service, bidder):
    chosen = await service.offer("sim", "1", model="small")
    await service.offer("sim", "1", model="large")
    await service.offer("sim", "1", model="small", variant="blind", features=[])
    await registered(service, bidder, include=["small"])
    await service.done(constraints={"models": ["small", "large"]})
    assert {offer["model"] for offer in bidder.requests[0]["offers"]} == {"small"}
    await service.post(constraints={"models": ["large"]})
    assert len(bidder.requests) == 1
    assert chosen in {offer["offer_id"] for offer in bidder.requests[0]["offers"]}


async def test_an_estimate_asks_nobody(service, bidder):
    await service.offer("sim", "1")
    await registered(service, bidder)
    assert (await service.client.post("/v1/tasks/estimate", json={"input": HELLO})).status_code == 200
    assert bidder.requests == []


async def test_a_slow_bidder_times_out_without_holding_up_the_auction_and_its_answer_is_kept(service, bidder):
    slow = await service.offer("sim", "1")
    rival = await service.offer("rival", "2")
    bidder.delay_s = 1.5
    feed = await registered(service, bidder, timeout_ms=60)
    began = time.monotonic()
    task = await service.post()
    assert time.monotonic() - began < 1.4
    bids = await bids_of(service, task)
    assert (bids[slow]["loss_reason"], task["award"]["offer_id"]) == ("bid_timeout", rival)
    line = await late_line(service, task["auction_id"])
    assert (line["feed_id"], line["bids"][0]["prices"]["in"]) == (feed, 500_000_000)
    record = next(iter(await lines_of(service, task["auction_id"])))
    assert line["at"] > record["inputs"]["closes_at"]
    assert bids == await bids_of(service, task)


async def lines_of(service: Served, auction_id: str) -> list[dict[str, Any]]:
    async with service.running.market.database.read() as conn:
        return [orjson.loads(one.line) for one in await log.lines_of_auction(conn, auction_id)]


async def late_line(service: Served, auction_id: str) -> dict[str, Any]:
    ends = time.monotonic() + 10
    while not (late := [one for one in await lines_of(service, auction_id) if one["type"] == "late_bid"]):
        assert time.monotonic() < ends
        await asyncio.sleep(0.05)
    return late[0]


async def test_all_bidders_are_asked_at_once(service, bidder):
    other = Bidding(delay_s=0.8, share=0.4)
    bidder.delay_s = 0.8
    await service.offer("sim", "1")
    fast = await service.offer("other", "1")
    async with serving(other.app()) as other.url:
        await registered(service, bidder)
        await registered(service, other, "other")
        began = time.monotonic()
        task = await service.post()
        assert time.monotonic() - began < 1.5
    assert task["award"]["offer_id"] == fast


async def test_each_bidder_has_its_own_deadline_however_long_the_auction_is_open(service, bidder):
    patient = Bidding(delay_s=0.9, share=1.0)
    bidder.delay_s = 0.5
    hasty = await service.offer("sim", "1")
    rival = await service.offer("other", "2")
    async with serving(patient.app()) as patient.url:
        await registered(service, bidder, timeout_ms=60)
        await registered(service, patient, "other")
        task = await service.post()
    bids = await bids_of(service, task)
    assert (bids[hasty]["loss_reason"], task["award"]["offer_id"]) == ("bid_timeout", rival)
    assert (await late_line(service, task["auction_id"]))["bids"][0]["code"] == 0


BAD = {
    "not JSON": ({"body": b"{"}, "bid_invalid", "not_json"),
    "deep": ({"body": b"[" * 60_000}, "bid_invalid", "not_json"),
    "a list": ({"body": b"[]"}, "bid_invalid", "wrong_type"),
    "too large": ({"body": b" " * 65_536 + b"{}"}, "bid_invalid", "too_large"),
    "compressed": (
        {"body": b"x", "headers": {"content-encoding": "gzip"}},
        "bid_invalid",
        "content_encoding",
    ),
    "a stranger's offer": ({"body": b'{"bids": [{"offer_id": "off_x"}]}'}, "bid_invalid", "unknown_offer"),
    "a redirect": ({"status": 307, "headers": {"location": "/bid"}}, "bid_invalid", "http_307"),
    "not found": ({"status": 404}, "bid_invalid", "http_404"),
    "down": ({"status": 503}, "no_bid", "http_503"),
    "no content": ({"status": 204}, "no_bid", None),
    "no bid": ({"body": b'{"no_bid": "at_capacity"}'}, "no_bid", "at_capacity"),
    "no bids": ({"body": b'{"bids": []}'}, "no_bid", None),
    "above": ({"share": 1.01}, "bid_above_quote", None),
}


@pytest.mark.parametrize("case", BAD)
async def test_whatever_is_no_bid_loses_with_its_reason(service, bidder, case):
    faults, reason, said = BAD[case]
    for name, value in faults.items():
        setattr(bidder, name, value)
    live = await service.offer("sim", "1")
    rival = await service.offer("rival", "2")
    await registered(service, bidder)
    task = await service.post()
    bid = (await bids_of(service, task))[live]
    assert (bid["loss_reason"], bid["live"]["said"], task["award"]["offer_id"]) == (reason, said, rival)
    why = (await service.client.get(f"/v1/auctions/{task['auction_id']}/why?offer_id={live}")).json()["why"]
    assert reason in why


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"prices": {"input_per_mtok": 0.5}}, "not_a_decimal_string"),
        ({"prices": {"input_per_mtok": "-1"}}, "negative_price"),
        ({"prices": {"input_per_mtok": "0.5", "currency": "EUR"}}, "unknown_currency"),
        ({"prices": {"input_per_token": "0.5"}}, "price_unit"),
        ({"quality": 1.5}, "out_of_range"),
        ({"latency_ms": {"p50": -1}}, "not_a_number"),
        ({"valid_until": "tomorrow"}, "bad_time"),
        ({"no_bid": "Not in the mood!"}, "bad_no_bid"),
    ],
)
async def test_one_bad_bid_spoils_none_beside_it(service, bidder, entry, said):
    good = await service.offer("sim", "1", variant="good")
    bad = await service.offer("sim", "1", variant="bad")
    prices = {"prices": {"input_per_mtok": "0.9"}}
    bids = [{"offer_id": good, **prices}, {"offer_id": bad, **entry}]
    bidder.body = orjson.dumps({"bids": bids})
    await registered(service, bidder)
    task = await service.post()
    found = await bids_of(service, task)
    assert task["award"]["offer_id"] == good
    assert found[good]["unit_prices"]["input_per_mtok"] == "0.9"
    assert found[good]["unit_prices"]["output_per_mtok"] == "1"
    assert (found[bad]["loss_reason"], found[bad]["live"]["said"]) == ("bid_invalid", said)


async def test_quality_latency_and_validity_of_a_bid_count(service, bidder):
    live = await service.offer("sim", "1", quality_claims=[{"domain": "general", "quality": 0.9}])
    rival = await service.offer("rival", "2", quality_claims=[{"domain": "general", "quality": 0.9}])
    await registered(service, bidder)

    async def outcome(**said: Any) -> tuple[str | None, str]:
        bidder.body = orjson.dumps({"bids": [{"offer_id": live, **said}]})
        task = await service.post(constraints={"min_quality": 0.6, "max_latency_ms": 60_000})
        return (await bids_of(service, task))[live]["loss_reason"], task["award"]["offer_id"]

    assert await outcome(quality=0.95, latency_ms={"p50": 1, "p95": 1}) == (None, live)
    assert await outcome(quality=0.3) == ("quality_below_floor", rival)
    assert await outcome(latency_ms={"p95": 70_000}) == ("too_slow", rival)
    assert await outcome(valid_until="2020-01-01T00:00:00Z") == ("bid_invalid", rival)
    assert await outcome(valid_until=ahead(60)) == (None, live)


async def test_a_bidder_that_keeps_failing_is_left_out_for_a_while_and_then_asked_again(
    service, bidder, monkeypatch
):
    live = await service.offer("sim", "1")
    await service.offer("rival", "2")
    bidder.body = b"garbage"
    await registered(service, bidder)
    for _ in range(bidders.FAILURES):
        await service.post()
    task = await service.post()
    assert (await bids_of(service, task))[live]["loss_reason"] == "not_asked"
    assert len(bidder.requests) == bidders.FAILURES
    form = next(iter(service.running.market.bidders._forms.values()))
    assert form.pause_s == 2 * bidders.PAUSE_S
    form.left_out_until = time.monotonic()
    bidder.body = None
    assert (await service.post())["award"]["offer_id"] == live
    assert (form.failures, form.pause_s) == (0, bidders.PAUSE_S)


async def test_a_feed_tells_how_its_bidder_does(service, bidder):
    await service.offer("sim", "1")
    feed = await registered(service, bidder)
    bidder.body = b"garbage"
    await service.post()
    shown = await health_of(service, feed, failures=1)
    assert (shown["state"], shown["health"]["errors"][0]["code"]) == ("failing", "not_json")
    bidder.body = None
    await service.post()
    shown = await health_of(service, feed, failures=0)
    assert (shown["state"], shown["health"]["lag_s"]) == ("ok", 0)


async def health_of(service: Served, feed_id: str, failures: int) -> dict[str, Any]:
    await service.running.market.bidders.keep_health()
    shown = (await service.client.get(f"/v1/feeds/{feed_id}")).json()
    assert shown["health"]["failures"] == failures
    return shown


async def test_a_bid_that_has_ended_is_not_called_when_the_winner_fails(service, bidder):
    first = await service.offer("sim", "1", variant="first")
    second = await service.offer("sim", "1", variant="second")
    rival = await service.offer("rival", "9")
    service.upstreams.fail("sim", Fault("server_error", delay_s=0.9, times=1))
    bids = [
        {"offer_id": first},
        {"offer_id": second, "prices": {"input_per_mtok": "1", "output_per_mtok": "1"}},
    ]
    bids[0]["prices"] = {"input_per_mtok": "0.1", "output_per_mtok": "0.1"}
    await registered(service, bidder)
    bidder.body = orjson.dumps({"bids": [bids[0], bids[1] | {"valid_until": ahead(0.8)}]})
    task = await service.done()
    assert [attempt["offer_id"] for attempt in task["attempts"]] == [first, rival]


async def test_a_winner_that_failed_is_told_that_nothing_is_paid(service, bidder):
    first = await service.offer("sim", "1")
    await service.offer("rival", "9")
    service.upstreams.fail("sim", Fault("server_error"))
    await registered(service, bidder, notices_url=f"{bidder.url}/notices", notify=["settled"])
    task = await service.done()
    settled = await bidder.told("bid.settled")
    assert (task["state"], settled["offer_id"]) == ("succeeded", first)
    assert (settled["state"], settled["paid_usd"]) == ("failed", "0")


async def test_a_bidder_is_asked_for_its_best_offers_and_the_others_quotes_stand(
    service, bidder, monkeypatch
):
    monkeypatch.setattr(asking, "MOST_OFFERS", 2)
    offers = [await service.offer("sim", str(price), variant=f"v{price}") for price in (4, 3, 2)]
    bidder.share = 1.5
    await registered(service, bidder)
    task = await service.post()
    assert {one["offer_id"] for one in bidder.requests[0]["offers"]} == set(offers[1:])
    assert task["award"]["offer_id"] == offers[0]
    assert (await bids_of(service, task))[offers[0]]["live"] is None


async def test_a_private_bid_url_is_not_reached_where_only_public_ones_may_be(service, bidder):
    live = await service.offer("sim", "1")
    await service.offer("rival", "2")
    await registered(service, bidder)
    market = service.running.market
    guarded = Transport(public_only=True)
    async with httpx.AsyncClient(transport=guarded) as client:
        market.bidders = Bidders(market.database, client)
        await market.bidders.refresh()
        task = await service.post()
    bid = (await bids_of(service, task))[live]
    assert (bid["loss_reason"], bid["live"]["said"], bidder.requests) == ("bid_timeout", "unreachable", [])


async def test_the_winner_of_a_second_price_auction_is_paid_by_the_rule_on_its_bid(service, bidder):
    market = service.running.market
    market.rules = replace(market.rules, rule="second_score")
    live = await service.offer("sim", "1", settles=True)
    rival = await service.offer("rival", "0.8")
    await registered(service, bidder)
    task = await service.done(constraints={"max_cost_usd": "1"})
    bids = await bids_of(service, task)
    assert (task["award"]["offer_id"], task["award"]["rule"]) == (live, "second_score")
    assert task["award"]["price_usd"] == bids[rival]["bid_usd"]
    assert bids[live]["bid_usd"] < bids[rival]["bid_usd"]


async def test_a_closed_feed_is_asked_no_more_and_the_standing_quote_holds(service, bidder):
    live = await service.offer("sim", "1")
    feed = await registered(service, bidder)
    assert (await service.client.delete(f"/v1/feeds/{feed}")).status_code == 200
    task = await service.done()
    assert (task["award"]["offer_id"], bidder.requests) == (live, [])
    assert (await bids_of(service, task))[live]["live"] is None


async def test_a_task_without_time_to_ask_takes_the_standing_quote(service, bidder):
    live = await service.offer("sim", "1", latency={"p50_ms": 10, "p95_ms": 20, "tokens_per_second": 10_000})
    await registered(service, bidder, timeout_ms=10_000)
    task = await service.post(constraints={"complete_within_s": 8})
    assert (task["award"]["offer_id"], bidder.requests) == (live, [])


async def test_a_queued_task_asks_before_it_is_released_and_not_too_often(service, bidder, monkeypatch):
    monkeypatch.setattr(asking, "ASK_AGAIN_S", 1_000.0)
    live = await service.offer("sim", "1")
    bidder.status = 204
    await registered(service, bidder)
    task = await service.post()
    assert (task["state"], task["reason"]) == ("queued", "no_bid")
    asked = len(bidder.requests)
    await service.quote(live, "0.9")
    await asyncio.sleep(1.2)
    assert len(bidder.requests) == asked
    assert (await service.task(task["id"]))["state"] == "queued"
    bidder.status = 200
    monkeypatch.setattr(asking, "ASK_AGAIN_S", 0.0)
    await service.quote(live, "0.8")
    done = await service.final(task["id"])
    assert (done["state"], len(bidder.requests) > asked) == ("succeeded", True)
    assert (await bids_of(service, done))[live]["unit_prices"]["input_per_mtok"] == "0.4"


async def test_a_held_task_asks_when_its_release_is_due(service, bidder):
    offer = await service.offer("sim", None, latency={"p50_ms": 5, "p95_ms": 10, "tokens_per_second": 10_000})

    def priced(price):
        return {"input_per_mtok": price, "output_per_mtok": price}

    soon = ahead(3)
    curve = [
        {"prices": priced("5"), "valid_until": soon},
        {"prices": priced("1"), "valid_from": soon, "valid_until": ahead(3_600)},
    ]
    assert (await service.client.post(f"/v1/offers/{offer}/quotes", json={"curve": curve})).status_code == 201
    bidder.share = 1.0
    await registered(service, bidder, notices_url=f"{bidder.url}/notices", notify=["won"], timeout_ms=1_000)
    # Where time costs anything, releases are not spread over the slot's beginning.
    costly = {"per_second_usd": "0.000000001"}
    task = await service.post(constraints={"complete_within_s": 600}, objective=costly)
    assert task["state"] == "held"
    assert len(bidder.requests) == 1
    bidder.share = 0.5
    done = await service.final(task["id"])
    assert (await bids_of(service, done))[offer]["unit_prices"]["input_per_mtok"] == "0.5"
    assert (await bidder.told("bid.won"))["auction_id"] == done["auction_id"]


async def test_a_loser_is_told_the_price_that_would_have_tied_but_never_the_budget(service, bidder):
    dear = await service.offer("sim", "10")
    await service.offer("rival", "1")
    await registered(service, bidder, notices_url=f"{bidder.url}/notices", notify=["lost"])
    task = await service.post(constraints={"max_cost_usd": "0.5"})
    lost = await bidder.told("bid.lost")
    (one,) = lost["offers"]
    bid = (await bids_of(service, task))[dear]
    assert (lost["auction_id"], one["offer_id"], one["loss_reason"]) == (task["auction_id"], dear, "outbid")
    assert one["min_to_win_usd"] == bid["min_to_win_usd"]
    bidder.notices.clear()
    await service.post(constraints={"max_cost_usd": "0.000001"})
    (one,) = (await bidder.told("bid.lost"))["offers"]
    assert (one["loss_reason"], one["min_to_win_usd"]) == ("over_budget", None)


async def test_a_notice_is_delivered_again_until_it_is_taken_and_keeps_its_event_id(
    service, bidder, monkeypatch
):
    monkeypatch.setattr(telling, "FIRST_PAUSE_US", 100_000)
    await service.offer("sim", "1")
    bidder.refuse_notices = 2
    await registered(service, bidder, notices_url=f"{bidder.url}/notices", notify=["settled"])
    await service.done()
    settled = await bidder.told("bid.settled", within_s=20)
    assert bidder.tried == [settled["event_id"]] * 3
    assert settled["state"] == "succeeded"


async def test_what_was_not_asked_for_is_not_told(service, bidder):
    await service.offer("sim", "1")
    await registered(service, bidder, notices_url=f"{bidder.url}/notices", notify=[])
    await service.done()
    async with service.running.market.database.read() as conn:
        assert await telling.notices.feeds_due(conn, 2**60) == []


async def test_a_cancelled_award_is_told_as_settled(service, bidder):
    await service.offer("sim", "1")
    service.upstreams.fail("sim", Fault("slow_first_token", delay_s=30))
    await registered(service, bidder, notices_url=f"{bidder.url}/notices", notify=["settled"])
    task = await service.post()
    await service.called("sim")
    await service.client.delete(f"/v1/tasks/{task['id']}")
    settled = await bidder.told("bid.settled")
    assert (settled["auction_id"], settled["state"]) == (task["auction_id"], "cancelled")
    assert settled["paid_usd"] == "0"
