"""The answers that /docs describes are the answers that are given: each real one fits its model, to the field."""

import re
from contextlib import nullcontext, suppress
from typing import Any

import httpx
import orjson
import pytest
from fastapi import FastAPI
from pydantic import BaseModel

from lowtide.api import answers, auction_answers, feed_answers, forecast_answers, price_answers, task_answers
from lowtide.api.server import create_api
from lowtide.simulate.feed_server import feed_server
from tests.contract.served import HELLO, Served, ahead

CHEAP = {"input_per_mtok": "0.2", "output_per_mtok": "0.2"}
MODULES = (answers, task_answers, auction_answers, feed_answers, price_answers, forecast_answers)
LONG = {"above_tokens": 1_000, "input_per_mtok": "2", "output_per_mtok": "3"}


@pytest.fixture(scope="module")
def api() -> FastAPI:
    """The application, without a market."""
    return create_api(lambda _app: nullcontext())  # type: ignore[arg-type,return-value]


def models(api: FastAPI) -> dict[tuple[str, str], type[BaseModel]]:
    """The model of the good answer of each method and path that has one."""
    return {
        (method.upper(), path): model_of(answer["content"]["application/json"]["schema"]["$ref"])
        for path, methods in api.openapi()["paths"].items()
        for method, operation in methods.items()
        for status, answer in operation["responses"].items()
        if status.startswith("2")
        and "$ref" in answer["content"].get("application/json", {}).get("schema", {})
    }


def model_of(reference: str) -> type[BaseModel]:
    """The model that a reference of the document means."""
    name = reference.rpartition("/")[2]
    listed = re.fullmatch(r"Page_(\w+)_", name)
    module = next(part for part in MODULES if hasattr(part, listed[1] if listed else name))
    model: Any = getattr(module, listed[1] if listed else name)
    return answers.Page[model] if listed else model  # type: ignore[no-any-return]


def schemas(document: dict[str, Any]) -> dict[str, Any]:
    """The document's schemas by name."""
    found: dict[str, Any] = document["components"]["schemas"]
    return found


def test_every_route_under_v1_that_answers_json_has_a_typed_answer(api):
    document = api.openapi()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            for status, answer in operation["responses"].items():
                content = answer.get("content", {})
                if status.startswith("2") and path.startswith("/v1") and "application/json" in content:
                    schema = content["application/json"]["schema"]
                    assert list(schema) == ["$ref"], (method, path, schema)
                    assert schema["$ref"].rpartition("/")[2] in schemas(document)


def test_every_field_of_a_body_is_described(api):
    bodies = (
        "New",
        "Bulk",
        "OfferChange",
        "Slot",
        "Step",
        "TaskBody",
        "TaskInput",
        "Constraints",
        "Objective",
    )
    for name, schema in schemas(api.openapi()).items():
        if not (name.endswith("Body") or name.startswith(bodies)) or name == "Step":
            continue
        for field, shown in schema["properties"].items():
            assert described(shown) or field in {"name", "prices", "quotes"}, (name, field)


def described(shown: dict[str, Any]) -> bool:
    """Whether a field says something, itself or in one of its forms."""
    return "description" in shown or any("description" in form for form in shown.get("anyOf", []))


async def test_the_examples_of_quotes_work_as_they_are_pasted(service: Served):
    document = (await service.client.get("/openapi.json")).json()
    for number, example in enumerate(schemas(document)["NewQuote"]["examples"]):
        offer = await service.offer(f"p{number}", None)
        answer = await service.client.post(f"/v1/offers/{offer}/quotes", json=example)
        assert answer.status_code == 201, answer.text


async def test_every_answer_of_a_lively_market_fits_its_model_and_no_model_is_left_out(service: Served, api):
    known = models(api)
    seen: set[tuple[str, str]] = set()

    async def fits(answer: httpx.Response) -> None:
        await answer.aread()
        method, path = answer.request.method, answer.request.url.path
        for (verb, template), model in known.items():
            pattern = re.sub(r"\{[^}]+\}", "[^/]+", template)
            if verb == method and re.fullmatch(pattern, path) and ("{" not in template or path not in exact):
                assert answer.is_success, answer.text
                model.model_validate_json(answer.content)
                seen.add((verb, template))

    exact = {path for _, path in known if "{" not in path}
    service.client.event_hooks["response"].append(fits)
    await lively(service)
    assert len(known) > 25
    assert seen == known.keys()


async def lively(service: Served) -> None:
    """Call every route, with tasks that succeed, fail over, wait, and find nobody."""
    client = service.client
    claims = [{"domain": "general", "quality": 0.9, "sample_size": 100}]
    offer = await service.offer("sim", "1", quality_claims=claims, capacity={"concurrency": 5})
    await service.offer("dear", None, model="n", regions=["eu"], features=["tools"], zero_retention=True)
    steps = {**CHEAP, "per_request": "0.001", "steps": [LONG]}
    dear = (await client.get("/v1/offers?model=n")).json()["data"][0]["id"]
    await client.post("/v1/quotes", json={"quotes": [{"offer_id": dear, "prices": steps}]})
    curve = [
        {"prices": {"input_per_mtok": "0.9", "output_per_mtok": "0.9"}, "valid_until": ahead(3_600)},
        {"prices": CHEAP, "valid_from": ahead(3_600), "valid_until": ahead(90_000)},
    ]
    await client.post(f"/v1/offers/{offer}/quotes", json={"curve": curve})
    jump = {"prices": {"input_per_mtok": "100", "output_per_mtok": "100"}, "capacity": {"concurrency": 1}}
    held_back = (await client.post(f"/v1/offers/{offer}/quotes", json=jump)).json()["quotes"][0]
    assert held_back["quarantined"]
    await client.get("/v1/quotes?quarantined=true")
    await client.get(f"/v1/quotes/{held_back['id']}")
    await client.patch(f"/v1/quotes/{held_back['id']}", json={"quarantined": False})
    await client.delete(f"/v1/quotes/{held_back['id']}")
    account = (await client.post("/v1/accounts", json={"name": "a", "credit_limit_usd": None})).json()
    made = (await client.post("/v1/keys", json={"role": "requester", "allow_models": ["m"]})).json()
    for path in (f"/v1/accounts/{account['id']}", "/v1/accounts", "/v1/keys", "/v1/providers", "/v1/offers"):
        await client.get(path)
    await client.delete(f"/v1/keys/{made['id']}")
    await client.get(f"/v1/providers/{service.provider_ids['sim']}")
    await client.get(f"/v1/offers/{offer}")
    await client.get("/v1/book")
    for step in ("1h", "ticks"):
        await client.get(f"/v1/offers/{offer}/prices?step={step}")
    await client.get(f"/v1/offers/{offer}/forecast")
    await client.get(f"/v1/offers/{offer}/scarcity")
    await client.get("/readyz")
    await client.get("/v1/savings")
    await feeds(service)
    await tasks(service, offer)
    await client.patch(f"/v1/offers/{dear}", json={"regions": ["us"]})
    await client.delete(f"/v1/offers/{dear}")


async def feeds(service: Served) -> None:
    """A feed that has refused entries and has failed, one of every other kind, and their routes."""
    client, provider = service.client, service.provider_ids["sim"]
    models = [{"model": "listed", "prices": CHEAP}, {"model": "odd", "prices": {"input_per_mtok": "-1"}}]
    document = {"format": "lowtide/1", "currency": "USD", "models": models}
    async with feed_server() as (server, base):
        server.set_document("/list", orjson.dumps(document))
        body = {"provider_id": provider, "kind": "poll", "url": f"{base}/list"}
        feed = (await client.post("/v1/feeds", json=body)).json()
        await client.post(f"/v1/feeds/{feed['id']}/run")
    with suppress(AssertionError):
        await client.post(f"/v1/feeds/{feed['id']}/run")
    await client.post(
        "/v1/feeds",
        json={"provider_id": provider, "kind": "live", "bid_url": f"{base}/bid", "include": ["none"]},
    )
    await client.get("/v1/feeds")
    assert (await client.get(f"/v1/feeds/{feed['id']}")).json()["health"]["failures"] == 1
    await client.delete(f"/v1/feeds/{feed['id']}")


async def tasks(service: Served, offer: str) -> None:
    """Tasks to every end, and what is shown of their auctions."""
    client = service.client
    full = {
        "constraints": {
            "min_quality": 0.1,
            "confidence": 0.6,
            "max_latency_ms": 600_000,
            "max_cost_usd": "1",
            "complete_by": ahead(600),
            "domain": "general",
            "modalities": ["text"],
            "models": ["m"],
            "providers": ["sim"],
            "exclude_providers": ["none"],
            "zero_retention": False,
        },
        "objective": {"value_usd": "1", "per_second_usd": "0.000001", "fallback": offer},
        "labels": {"team": "a"},
    }
    patient = {"constraints": {"complete_within_s": 80_000, "models": ["m"]}}
    done = await service.done(**full)
    held = await service.post(**patient)
    assert (done["state"], held["state"]) == ("succeeded", "held")
    unfilled = await service.post(constraints={"models": ["m"], "regions": ["mars"]})
    assert unfilled["nearest"] is not None
    impatient: dict[str, Any] = {"constraints": {"models": ["m"]}}
    for body in (patient, impatient, {"constraints": {"models": ["none"]}}):
        await client.post("/v1/tasks/estimate", json={"input": HELLO, **body})
    for task in (done, held, unfilled):
        await client.get(f"/v1/tasks/{task['id']}")
        auction = task["auction_id"]
        await client.get(f"/v1/auctions/{auction}")
        await client.get(f"/v1/auctions/{auction}/why", params={"offer_id": offer})
        await client.post(f"/v1/auctions/{auction}/replay")
    await client.delete(f"/v1/tasks/{held['id']}")
    service.provider_ids.setdefault("lone", await service.provider("lone"))
    await client.get("/v1/tasks")
    await client.get("/v1/auctions")
