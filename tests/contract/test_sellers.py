"""Sellers: providers, offers, quotes, and the book that they make."""

import asyncio
import json
import shutil
import tomllib
from pathlib import Path
from typing import Any

import httpx
import pytest

from lowtide.api.bodies import credential_variable
from lowtide.exchange.quotes import Pushed, push_quotes
from lowtide.market.quote import Prices
from lowtide.simulate.server import serving
from lowtide.simulate.upstream import Upstreams
from tests.contract.served import HELLO, Served, ahead, served_market

ONE = {"input_per_mtok": "1", "output_per_mtok": "1"}


async def test_a_provider_is_registered_listed_and_read_and_shows_no_credential(service: Served):
    body = {
        "name": "acme",
        "base_url": "https://api.acme.example/v1/",
        "credential_env": ["ACME_KEY", "ACME_KEY_2"],
        "discount": 0.05,
    }
    made = (await service.client.post("/v1/providers", json=body)).json()
    assert made["base_url"] == "https://api.acme.example/v1"
    assert made["credential_env"] == ["ACME_KEY", "ACME_KEY_2"]
    assert made["discount"] == 0.05
    assert (await service.client.get(f"/v1/providers/{made['id']}")).json() == made
    assert (await service.client.get("/v1/providers")).json() == {"data": [made], "next": None}
    twice = await service.client.post("/v1/providers", json=body)
    assert (twice.status_code, twice.json()["code"]) == (409, "provider_exists")


async def test_a_discount_may_be_a_decimal_string_and_the_token_field_is_chosen(service: Served):
    body = {"base_url": "https://api.acme.example/v1", "discount": "0.15", "credential_env": "ACME_TOKEN_EU"}
    made = (await service.client.post("/v1/providers", json={"name": "new", **body})).json()
    assert (made["discount"], made["max_tokens_field"]) == (0.15, "max_completion_tokens")
    assert made["credential_env"] == ["ACME_TOKEN_EU"]
    old = await service.client.post(
        "/v1/providers", json={"name": "old", **body, "max_tokens_field": "max_tokens"}
    )
    assert old.json()["max_tokens_field"] == "max_tokens"


async def test_a_provider_is_sent_the_limit_in_the_field_that_was_chosen(template: Path, tmp_path: Path):
    sent: list[Any] = []

    def noted(body: Any) -> int:
        sent.append(body)
        return 40

    upstreams = Upstreams(output_tokens=noted)
    shutil.copyfile(template, tmp_path / "market.db")
    async with (
        serving(upstreams) as url,
        served_market(tmp_path / "market.db", upstreams, url) as served,
    ):
        await served.provider("old", max_tokens_field="max_tokens")
        await served.offer("old")
        await served.done(input=HELLO | {"max_output_tokens": 17})
    assert sent[-1]["max_tokens"] == 17
    assert "max_completion_tokens" not in sent[-1]


def test_every_credential_in_the_configuration_could_be_registered_too():
    for file in Path("config/providers").glob("*.toml"):
        for name in tomllib.loads(file.read_text()).get("credential_env", []):
            assert credential_variable(name) == name


async def test_an_offer_is_listed_read_changed_and_withdrawn(service: Served):
    await service.provider()
    body = {
        "provider_id": service.provider_ids["sim"],
        "model": "m",
        "upstream_model": "m-2026",
        "lane": "flex",
        "context_window": 1_000,
        "features": ["tools"],
        "regions": ["eu"],
        "zero_retention": True,
        "capacity": {"concurrency": 2},
        "latency": {"p50_ms": 10, "p95_ms": 20, "tokens_per_second": 100},
        "quality_claims": [{"domain": "legal", "quality": 0.9, "sample_size": 50}],
    }
    made = (await service.client.post("/v1/offers", json=body)).json()
    assert {name: made[name] for name in body if name != "capacity"} == {
        name: value for name, value in body.items() if name != "capacity"
    }
    assert made["capacity"]["concurrency"] == 2
    changed = await service.client.patch(
        f"/v1/offers/{made['id']}", json={"context_window": 2_000, "zero_retention": False}
    )
    assert changed.json()["context_window"] == 2_000
    assert changed.json()["zero_retention"] is False
    assert changed.json()["features"] == ["tools"]
    assert changed.json()["book_version"] > made["book_version"]
    gone = (await service.client.delete(f"/v1/offers/{made['id']}")).json()
    assert gone["withdrawn_at"] is not None
    assert (await service.client.get("/v1/book")).json()["data"] == []
    late = await service.client.patch(f"/v1/offers/{made['id']}", json={"context_window": 3_000})
    assert (late.status_code, late.json()["code"]) == (404, "offer_withdrawn")


async def test_the_same_offer_cannot_be_listed_twice_but_a_withdrawn_one_again(service: Served):
    offer = await service.offer()
    body = {"provider_id": service.provider_ids["sim"], "model": "m", "context_window": 5_000}
    twice = await service.client.post("/v1/offers", json=body)
    assert (twice.status_code, twice.json()["code"]) == (409, "offer_exists")
    await service.client.delete(f"/v1/offers/{offer}")
    assert (await service.post())["state"] == "unfilled"
    again = await service.client.post("/v1/offers", json=body)
    assert again.status_code == 201, again.text
    assert (again.json()["id"], again.json()["withdrawn_at"]) == (offer, None)
    assert again.json()["context_window"] == 5_000
    await service.quote(offer, "1")
    assert (await service.done())["state"] == "succeeded"


async def test_offers_are_listed_by_provider_and_model_and_in_pages(service: Served):
    made = [await service.offer("a" if n % 2 else "b", model=f"m{n}") for n in range(5)]

    async def ids(query: str) -> list[str]:
        return [row["id"] for row in (await service.client.get(f"/v1/offers?{query}")).json()["data"]]

    assert await ids("") == made
    assert await ids("model=m3") == [made[3]]
    assert await ids(f"provider_id={service.provider_ids['a']}") == [made[1], made[3]]
    page = (await service.client.get("/v1/offers?limit=2")).json()
    assert await ids(f"limit=2&after={page['next']}") == made[2:4]


async def test_a_raised_capacity_lets_more_run_at_once(service: Served):
    offer = await service.offer(capacity={"concurrency": 1})
    body = {"capacity": {"concurrency": 5}}
    assert (await service.client.patch(f"/v1/offers/{offer}", json=body)).json()["capacity"][
        "concurrency"
    ] == 5
    posted = await asyncio.gather(*(service.post() for _ in range(5)))
    assert {task["state"] for task in posted} == {"running"}


async def test_tokens_and_requests_a_minute_are_limits_too(service: Served):
    await service.offer("a", capacity={"requests_per_minute": 2})
    assert [(await service.post())["state"] for _ in range(3)] == ["running", "running", "queued"]
    await service.offer("b", model="n", capacity={"tokens_per_minute": 150})
    small: dict[str, Any] = {
        "input": HELLO | {"max_output_tokens": 100},
        "constraints": {"models": ["n"]},
    }
    assert [(await service.post(**small))["state"] for _ in range(2)] == ["running", "queued"]


async def test_a_quote_stands_in_the_book_when_it_is_answered_and_the_newest_sequence_counts(service: Served):
    offer = await service.offer(price=None)
    first = (await service.quote(offer, "2", sequence=5)).json()
    book = (await service.client.get("/v1/book")).json()
    assert book["book_version"] >= first["book_version"]
    assert book["data"][0]["prices"]["input_per_mtok"] == "2"
    assert (await service.quote(offer, "3", sequence=6)).status_code == 201
    assert (await service.quote(offer, "4")).json()["quotes"][0]["sequence"] == 7
    assert (await service.client.get("/v1/book")).json()["data"][0]["prices"]["input_per_mtok"] == "4"


async def test_an_offer_without_an_output_price_cannot_win(service: Served):
    offer = await service.offer(price=None)
    body = {"prices": {"input_per_mtok": "1"}}
    assert (await service.client.post(f"/v1/offers/{offer}/quotes", json=body)).status_code == 201
    task = await service.post()
    assert (task["state"], task["reason"]) == ("unfilled", "unpriced")


async def test_the_book_tells_the_price_now_until_when_and_what_follows(service: Served):
    offer = await service.offer(price=None)
    step = ahead(3_600)
    curve = [
        {"prices": ONE, "valid_until": step},
        {"prices": ONE | {"per_request": "0.5"}, "valid_from": step},
    ]
    await service.client.post(f"/v1/offers/{offer}/quotes", json={"curve": curve})
    ask = (await service.client.get("/v1/book?model=m")).json()["data"][0]
    assert (ask["offer_id"], ask["valid_until"]) == (offer, step)
    assert ask["next"][0]["prices"]["per_request"] == "0.5"
    assert (await service.client.get("/v1/book?provider=other")).json()["data"] == []


async def test_a_bulk_push_is_taken_wholly_or_not_at_all(service: Served):
    a, b = await service.offer("a"), await service.offer("b")
    await service.quote(b, "1", sequence=9)
    version = (await service.client.get("/v1/book")).json()["book_version"]
    quotes = [{"offer_id": a, "prices": ONE}, {"offer_id": b, "prices": ONE, "sequence": 3}]
    refused = await service.client.post("/v1/quotes", json={"quotes": quotes})
    assert (refused.status_code, refused.json()["code"]) == (409, "stale_quote")
    assert (await service.client.get("/v1/book")).json()["book_version"] == version
    quotes[1]["sequence"] = 10
    taken = await service.client.post("/v1/quotes", json={"quotes": quotes})
    assert taken.status_code == 201
    assert [one["offer_id"] for one in taken.json()["quotes"]] == [a, b]
    assert taken.json()["book_version"] == version + 1


async def test_a_push_to_an_offer_that_a_feed_prices_is_a_conflict_until_its_source_is_changed(
    service: Served,
):
    offer = await service.offer(price=None)
    one = Pushed(offer, Prices(10**9, 10**9), None, None, None)
    await push_quotes(service.running.market, [one], source="feed_test")
    refused = await service.quote(offer, "2")
    assert (refused.status_code, refused.json()["code"]) == (409, "price_source_differs")
    changed = await service.client.patch(f"/v1/offers/{offer}", json={"price_source": "push"})
    assert (changed.status_code, changed.json()["price_source"]) == (200, "push")
    assert (await service.quote(offer, "2")).status_code == 201
    assert (await service.client.get("/v1/book")).json()["data"][0]["prices"]["input_per_mtok"] == "2"


async def test_a_providers_key_manages_its_own_offers_and_nothing_else(service: Served):
    mine, theirs = await service.offer("mine"), await service.offer("theirs")
    async with await service.key("provider", provider_id=service.provider_ids["mine"]) as seller:
        assert (await seller.post(f"/v1/offers/{mine}/quotes", json={"prices": ONE})).status_code == 201
        assert (await seller.patch(f"/v1/offers/{mine}", json={"regions": ["eu"]})).status_code == 200
        body = {"provider_id": service.provider_ids["mine"], "model": "new"}
        assert (await seller.post("/v1/offers", json=body)).status_code == 201
        assert {row["provider"] for row in (await seller.get("/v1/offers")).json()["data"]} == {"mine"}
        refused: list[httpx.Response] = [
            await seller.post(f"/v1/offers/{theirs}/quotes", json={"prices": ONE}),
            await seller.post("/v1/quotes", json={"quotes": [{"offer_id": theirs, "prices": ONE}]}),
            await seller.patch(f"/v1/offers/{theirs}", json={"regions": ["eu"]}),
            await seller.delete(f"/v1/offers/{theirs}"),
            await seller.post("/v1/offers", json=body | {"provider_id": service.provider_ids["theirs"]}),
            await seller.post("/v1/providers", json={"name": "x", "base_url": "https://a.example"}),
        ]
        assert [answer.status_code for answer in refused] == [403] * len(refused)


@pytest.mark.parametrize("query", ["", "?model=m"])
async def test_the_book_stream_tells_the_book_at_once_and_again_after_a_push(service: Served, query: str):
    offer = await service.offer()
    seen: list[dict[str, Any]] = []
    begun = asyncio.Event()

    async def listen() -> None:
        async with service.client.stream("GET", f"/v1/book/stream{query}") as stream:
            async for line in stream.aiter_lines():
                if line.startswith("data: "):
                    seen.append(json.loads(line[6:]))
                    begun.set()
                    if len(seen) == 2:
                        return

    listening = asyncio.create_task(listen())
    await asyncio.wait_for(begun.wait(), 5)
    await service.quote(offer, "7")
    await asyncio.wait_for(listening, 5)
    assert seen[1]["book_version"] > seen[0]["book_version"]
    assert seen[1]["data"][0]["prices"]["input_per_mtok"] == "7"


async def test_the_book_stream_tells_a_price_step_without_any_push(service: Served):
    offer = await service.offer(price=None)
    step = ahead(0.8)
    curve = [
        {"prices": ONE, "valid_until": step},
        {"prices": ONE | {"per_request": "0.5"}, "valid_from": step},
    ]
    await service.client.post(f"/v1/offers/{offer}/quotes", json={"curve": curve})

    async def listen() -> list[str]:
        found: list[str] = []
        async with service.client.stream("GET", "/v1/book/stream") as stream:
            async for line in stream.aiter_lines():
                if line.startswith("data: "):
                    found.append(json.loads(line[6:])["data"][0]["prices"]["per_request"])
                    if len(found) == 2:
                        break
        return found

    assert await asyncio.wait_for(listen(), 5) == ["0", "0.5"]


async def test_health_readiness_and_metrics_answer_without_a_key(service: Served):
    await service.offer()
    await service.done()
    async with httpx.AsyncClient(base_url=service.url) as nobody:
        assert (await nobody.get("/healthz")).text == "ok"
        ready = (await nobody.get("/readyz")).json()
        assert (ready["ready"], ready["offers"]) == (True, 1)
        assert 'lowtide_tasks{state="succeeded"} 1.0' in (await nobody.get("/metrics")).text
