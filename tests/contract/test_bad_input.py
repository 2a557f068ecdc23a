"""Nothing that is sent makes a 500: every fault is a problem that names the field by its pointer, with a code of its own."""

import asyncio
import json
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from lowtide.simulate.server import serving
from lowtide.simulate.upstream import Upstreams
from tests.contract.served import HELLO, Served, ahead, client_of, served_market

pytestmark = pytest.mark.asyncio(loop_scope="module")
ONE = {"input_per_mtok": "1", "output_per_mtok": "1"}
MIB = 1024 * 1024


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def market(template: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """One market for the whole file: what is refused leaves no trace."""
    database = tmp_path_factory.mktemp("bad") / "market.db"
    shutil.copyfile(template, database)
    upstreams = Upstreams()
    async with serving(upstreams) as url, served_market(database, upstreams, url) as served:
        served.offer_id = await served.offer()  # type: ignore[attr-defined]
        yield served


def problem(answer: httpx.Response, status: int, code: str, pointer: str | None = None) -> dict[str, Any]:
    """The answer as a problem of that status, code and (where given) first pointer."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    body: dict[str, Any] = answer.json()
    assert {"type", "title", "status", "code", "detail"} <= body.keys()
    assert (answer.status_code, body["code"]) == (status, code), body
    assert body["status"] == status
    assert body["type"] == f"urn:lowtide:problem:{code}"
    assert len(body["detail"]) < 1_000
    if pointer is not None:
        assert body["errors"][0]["pointer"] == pointer, body
        assert body["errors"][0]["code"] == code
    return body


PRICES = [
    ({"input_cost_per_token": "0.0000025"}, "price_unit", "/prices/input_cost_per_token"),
    ({"output_per_1k": "0.01"}, "price_unit", "/prices/output_per_1k"),
    ({"input_per_mtok": "0.0000025"}, "price_unit", "/prices/input_per_mtok"),
    ({"input_per_mtok": "0.00000000025"}, "price_unit", "/prices/input_per_mtok"),
    ({"input_per_mtok": "1000.01"}, "price_unit", "/prices/input_per_mtok"),
    ({"input_per_mtok": "-1"}, "negative_price", "/prices/input_per_mtok"),
    ({"input_per_mtok": "NaN"}, "not_a_number", "/prices/input_per_mtok"),
    ({"input_per_mtok": "Infinity"}, "not_a_number", "/prices/input_per_mtok"),
    ({"input_per_mtok": "1_000"}, "not_a_number", "/prices/input_per_mtok"),
    ({"input_per_mtok": "١"}, "not_a_number", "/prices/input_per_mtok"),
    ({"input_per_mtok": " 1 "}, "not_a_number", "/prices/input_per_mtok"),
    ({"input_per_mtok": ""}, "not_a_number", "/prices/input_per_mtok"),
    ({"input_per_mtok": "9" * 5_000}, "not_a_number", "/prices/input_per_mtok"),
    ({"input_per_mtok": "1e999"}, "out_of_range", "/prices/input_per_mtok"),
    ({"input_per_mtok": 1}, "not_a_decimal_string", "/prices/input_per_mtok"),
    ({"input_per_mtok": 0.25}, "not_a_decimal_string", "/prices/input_per_mtok"),
    ({"input_per_mtok": True}, "not_a_decimal_string", "/prices/input_per_mtok"),
    ({"input_per_mtok": ["1"]}, "not_a_decimal_string", "/prices/input_per_mtok"),
    ({"input_per_mtok": "0.1234567891"}, "too_precise", "/prices/input_per_mtok"),
    ({"per_request": "1000.5"}, "price_unit", "/prices/per_request"),
    ({"currency": "EUR"}, "unknown_currency", "/prices/currency"),
    ({"price": "1"}, "unknown_field", "/prices/price"),
]


@pytest.mark.parametrize(("prices", "code", "pointer"), PRICES)
async def test_a_price_that_is_none_is_refused_by_its_pointer(market, prices, code, pointer):
    answer = await market.client.post(f"/v1/offers/{market.offer_id}/quotes", json={"prices": ONE | prices})
    problem(answer, 422, code, pointer)


QUOTES = [
    ({"valid_from": "2026-11-24T06:00:00"}, "naive_time", "/valid_from"),
    ({"valid_from": "tomorrow"}, "bad_time", "/valid_from"),
    ({"valid_from": "x" * 100_000}, "bad_time", "/valid_from"),
    ({"valid_from": 1_764_000_000}, "bad_time", "/valid_from"),
    ({"valid_from": "0001-01-01T00:00:00Z"}, "out_of_range", "/valid_from"),
    ({"valid_until": "9999-12-31T23:59:59Z"}, "out_of_range", "/valid_until"),
    ({"valid_from": ahead(60), "valid_until": ahead(30)}, "ends_before_it_begins", "/valid_until"),
    ({"valid_until": "2020-01-01T00:00:00Z"}, "ends_before_it_begins", "/valid_until"),
    ({"sequence": -1}, "out_of_range", "/sequence"),
    ({"sequence": 2**53}, "out_of_range", "/sequence"),
    ({"sequence": 10**30}, "out_of_range", "/sequence"),
    ({"sequence": "7"}, "invalid_request", "/sequence"),
    ({"curve": [{"prices": ONE}]}, "conflicting_fields", "/curve"),
    ({"until": "x"}, "unknown_field", "/until"),
]


@pytest.mark.parametrize(("fields", "code", "pointer"), QUOTES)
async def test_a_quote_that_is_none_is_refused_by_its_pointer(market, fields, code, pointer):
    body = {"prices": ONE, **fields}
    answer = await market.client.post(f"/v1/offers/{market.offer_id}/quotes", json=body)
    shown = answer.json()
    assert (answer.status_code, shown["code"], shown["errors"][0]["pointer"]) == (422, code, pointer), shown


async def test_overlapping_slots_of_one_push_are_refused(market):
    curve = [
        {"prices": ONE, "valid_from": ahead(10), "valid_until": ahead(30)},
        {"prices": ONE, "valid_from": ahead(20), "valid_until": ahead(40)},
    ]
    answer = await market.client.post(f"/v1/offers/{market.offer_id}/quotes", json={"curve": curve})
    problem(answer, 422, "overlapping_quotes", "/curve/1/valid_from")


async def test_a_fault_in_a_push_of_many_points_at_its_quote(market):
    first, second = await market.offer("many-a"), await market.offer("many-b")
    await market.quote(second, "1", sequence=5)
    slots = [
        {"prices": ONE, "valid_from": ahead(30)},
        {"prices": ONE, "valid_from": ahead(10), "valid_until": ahead(20)},
        {"prices": ONE, "valid_from": ahead(15), "valid_until": ahead(25)},
    ]
    body = {"quotes": [{"offer_id": first, "prices": ONE}, {"offer_id": second, "curve": slots}]}
    answer = await market.client.post("/v1/quotes", json=body)
    problem(answer, 422, "overlapping_quotes", "/quotes/1/curve/2/valid_from")
    body = {
        "quotes": [{"offer_id": first, "prices": ONE}, {"offer_id": second, "prices": ONE, "sequence": 5}]
    }
    problem(await market.client.post("/v1/quotes", json=body), 409, "stale_quote", "/quotes/1/sequence")


async def test_a_quote_without_prices_lacks_a_field(market):
    answer = await market.client.post(f"/v1/offers/{market.offer_id}/quotes", json={})
    problem(answer, 422, "missing_field", "/prices")


async def test_a_sequence_beyond_the_range_is_told_the_range(market):
    body = problem(
        await market.quote(market.offer_id, "1", sequence=99999999999999999999), 422, "out_of_range"
    )
    assert "4503599627370496" in body["detail"]


async def test_a_stale_sequence_is_a_conflict_that_names_the_newest(market):
    offer = await market.offer("stale")
    assert (await market.quote(offer, "2", sequence=10)).status_code == 201
    body = problem(await market.quote(offer, "3", sequence=10), 409, "stale_quote", "/sequence")
    assert "above 10" in body["detail"]


async def test_a_quote_of_an_unknown_offer_is_404(market):
    problem(await market.quote("off_nothere", "1"), 404, "unknown_offer")
    bulk = {"quotes": [{"offer_id": "off_nothere", "prices": ONE}]}
    problem(await market.client.post("/v1/quotes", json=bulk), 404, "unknown_offer", "/quotes/0/offer_id")


DEEP: Any = "x"
for _ in range(300):
    DEEP = [DEEP]


def said(message: dict[str, Any]) -> dict[str, Any]:
    """A task whose only message is this."""
    return {"input": {"messages": [message]}}


TASKS: list[tuple[dict[str, Any], str, str]] = [
    ({"input": None}, "invalid_request", "/input"),
    ({"input": "hello"}, "invalid_request", "/input"),
    ({"input": {}}, "missing_field", "/input/messages"),
    ({"input": {"messages": []}}, "invalid_request", "/input/messages"),
    ({"input": {"messages": "hi"}}, "invalid_request", "/input/messages"),
    ({"input": {"messages": ["hi"]}}, "invalid_request", "/input/messages/0"),
    (said({"content": "hi"}), "missing_field", "/input/messages/0/role"),
    (said({"role": None, "content": "hi"}), "missing_field", "/input/messages/0/role"),
    (said({"role": "king", "content": "hi"}), "invalid_request", "/input/messages/0/role"),
    (said({"role": ["user"], "content": "hi"}), "invalid_request", "/input/messages/0/role"),
    (said({"role": "user"}), "missing_field", "/input/messages/0/content"),
    (said({"role": "user", "content": None}), "invalid_request", "/input/messages/0/content"),
    (said({"role": "user", "content": 7}), "invalid_request", "/input/messages/0/content"),
    (said({"role": "user", "content": ["hi"]}), "invalid_request", "/input/messages/0/content/0"),
    (
        said({"role": "user", "content": [{"text": "hi"}]}),
        "missing_field",
        "/input/messages/0/content/0/type",
    ),
    (said({"role": "assistant", "content": None}), "invalid_request", "/input/messages/0/content"),
    ({"input": HELLO | {"max_output_tokens": 0}}, "invalid_request", "/input/max_output_tokens"),
    ({"input": HELLO | {"max_output_tokens": 10**30}}, "invalid_request", "/input/max_output_tokens"),
    ({"input": HELLO | {"max_output_tokens": 1.5}}, "invalid_request", "/input/max_output_tokens"),
    ({"input": HELLO | {"max_output_tokens": 2_000_000, "n": 2}}, "too_large", "/input/n"),
    ({"input": HELLO | {"n": 0}}, "invalid_request", "/input/n"),
    ({"input": HELLO | {"x": DEEP}}, "too_deep", "/input/x/0"),
    ({"input": HELLO | {"user": "a\0b"}}, "nul_character", "/input/user"),
    ({"input": HELLO | {"a/b~\0": 1}}, "nul_character", "/input"),
    ({"labels": {"team": "a\0"}}, "nul_character", "/labels/team"),
    ({"labels": {"team": 7}}, "invalid_request", "/labels/team"),
    ({"labels": {"team": "x" * 257}}, "invalid_request", "/labels/team"),
    ({"labels": {str(n): "x" for n in range(33)}}, "invalid_request", "/labels"),
    ({"task_type": ""}, "invalid_request", "/task_type"),
    ({"task_type": "two words"}, "invalid_request", "/task_type"),
    ({"task_type": 7}, "invalid_request", "/task_type"),
    ({"constraints": {"min_quality": 1.5}}, "invalid_request", "/constraints/min_quality"),
    ({"constraints": {"min_quality": "0.9"}}, "invalid_request", "/constraints/min_quality"),
    ({"constraints": {"min_quality": True}}, "invalid_request", "/constraints/min_quality"),
    ({"constraints": {"confidence": 1}}, "invalid_request", "/constraints/confidence"),
    ({"constraints": {"max_latency_ms": 0}}, "invalid_request", "/constraints/max_latency_ms"),
    ({"constraints": {"max_latency_ms": 10**19}}, "invalid_request", "/constraints/max_latency_ms"),
    ({"constraints": {"max_cost_usd": "-1"}}, "negative_amount", "/constraints/max_cost_usd"),
    ({"constraints": {"max_cost_usd": "1001"}}, "out_of_range", "/constraints/max_cost_usd"),
    ({"constraints": {"max_cost_usd": 1}}, "not_a_decimal_string", "/constraints/max_cost_usd"),
    ({"constraints": {"complete_by": "2020-01-01T00:00:00Z"}}, "deadline_passed", "/constraints/complete_by"),
    ({"constraints": {"complete_by": "2026-11-24"}}, "naive_time", "/constraints/complete_by"),
    ({"constraints": {"complete_by": "soon"}}, "bad_time", "/constraints/complete_by"),
    ({"constraints": {"complete_by": "9999-12-31T00:00:00Z"}}, "out_of_range", "/constraints/complete_by"),
    ({"constraints": {"complete_within_s": 0}}, "invalid_request", "/constraints/complete_within_s"),
    ({"constraints": {"complete_within_s": 1e300}}, "invalid_request", "/constraints/complete_within_s"),
    (
        {"constraints": {"complete_within_s": 5, "complete_by": ahead(60)}},
        "conflicting_fields",
        "/constraints/complete_within_s",
    ),
    ({"constraints": {"modalities": ["smell"]}}, "invalid_request", "/constraints/modalities/0"),
    ({"constraints": {"models": []}}, "invalid_request", "/constraints/models"),
    ({"constraints": {"max_price": "1"}}, "unknown_field", "/constraints/max_price"),
    ({"objective": {"value_usd": "NaN"}}, "not_a_number", "/objective/value_usd"),
    ({"objective": {"fallback": "off_none"}}, "unknown_offer", "/objective/fallback"),
    ({"max_attempts": 0}, "invalid_request", "/max_attempts"),
    ({"wait_s": 601}, "invalid_request", "/wait_s"),
    ({"wait_s": -1}, "invalid_request", "/wait_s"),
    ({"strategy": "guess"}, "invalid_request", "/strategy"),
    ({"strategy": "hedge"}, "not_available_yet", "/strategy"),
    ({"webhook_url": "https://example.com"}, "not_available_yet", "/webhook_url"),
    ({"prority": "high"}, "unknown_field", "/prority"),
]


@pytest.mark.parametrize(("fields", "code", "pointer"), TASKS)
@pytest.mark.parametrize("path", ["/v1/tasks", "/v1/tasks/estimate"])
async def test_a_task_that_is_none_is_refused_by_its_pointer(market, path, fields, code, pointer):
    answer = await market.client.post(path, json={"input": HELLO} | fields)
    shown = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, shown["code"], shown["errors"][0]["pointer"]) == (422, code, pointer), shown


HOST = {"name": "p", "base_url": "https://a.example"}
SELLERS = [
    ("/v1/providers", {"name": "p"}, "missing_field", "/base_url"),
    ("/v1/providers", {"name": "p p", "base_url": "https://a.example"}, "invalid_request", "/name"),
    ("/v1/providers", {"name": "p", "base_url": "ftp://a.example"}, "not_a_url", "/base_url"),
    (
        "/v1/providers",
        {"name": "p", "base_url": "https://a.example", "discount": 1},
        "invalid_request",
        "/discount",
    ),
    (
        "/v1/providers",
        {"name": "p", "base_url": "https://a.example", "wire": "x"},
        "invalid_request",
        "/wire",
    ),
    ("/v1/providers", {"name": "p", "base_url": "http://"}, "bad_url", "/base_url"),
    ("/v1/providers", {"name": "p", "base_url": "https://:8080/v1"}, "bad_url", "/base_url"),
    ("/v1/providers", {"name": "p", "base_url": "http://a:port/v1"}, "bad_url", "/base_url"),
    ("/v1/providers", HOST | {"discount": "1"}, "invalid_request", "/discount"),
    ("/v1/providers", HOST | {"discount": "a lot"}, "not_a_number", "/discount"),
    ("/v1/providers", HOST | {"max_tokens_field": "limit"}, "invalid_request", "/max_tokens_field"),
    ("/v1/providers", HOST | {"credential_env": "PATH"}, "credential_env_refused", "/credential_env/0"),
    (
        "/v1/providers",
        HOST | {"credential_env": ["A_KEY", "HOME"]},
        "credential_env_refused",
        "/credential_env/1",
    ),
    (
        "/v1/providers",
        HOST | {"credential_env": "LOWTIDE_OPERATOR_KEY"},
        "credential_env_refused",
        "/credential_env/0",
    ),
    ("/v1/offers", {"model": "m"}, "missing_field", "/provider_id"),
    ("/v1/offers", {"provider_id": "prov_x", "model": "m", "lane": "fast"}, "invalid_request", "/lane"),
    (
        "/v1/offers",
        {"provider_id": "prov_x", "model": "m", "capacity": {"concurrency": 10**30}},
        "invalid_request",
        "/capacity/concurrency",
    ),
    (
        "/v1/offers",
        {"provider_id": "prov_x", "model": "m", "quality_claims": [{"domain": "d", "quality": 2}]},
        "invalid_request",
        "/quality_claims/0/quality",
    ),
    ("/v1/quotes", {"quotes": []}, "invalid_request", "/quotes"),
    ("/v1/accounts", {"name": "a", "credit_limit_usd": "10000000000"}, "out_of_range", "/credit_limit_usd"),
    ("/v1/keys", {"role": "king"}, "invalid_request", "/role"),
]


@pytest.mark.parametrize(("path", "body", "code", "pointer"), SELLERS)
async def test_what_a_seller_or_operator_sends_wrong_is_named(market, path, body, code, pointer):
    shown = (answer := await market.client.post(path, json=body)).json()
    assert (answer.status_code, shown["code"], shown["errors"][0]["pointer"]) == (422, code, pointer), shown


async def test_offers_of_unknown_providers_and_keys_of_unknown_accounts_are_404(market):
    answer = await market.client.post("/v1/offers", json={"provider_id": "prov_x", "model": "m"})
    problem(answer, 404, "unknown_provider")
    answer = await market.client.post("/v1/keys", json={"role": "requester", "account_id": "acct_x"})
    problem(answer, 404, "unknown_account")


async def test_a_negative_zero_and_a_plus_sign_are_numbers(market):
    offer = await market.offer("signs")
    answer = await market.client.post(
        f"/v1/offers/{offer}/quotes", json={"prices": {"input_per_mtok": "-0", "output_per_mtok": "+1.5"}}
    )
    assert answer.status_code == 201
    assert answer.json()["quotes"][0]["prices"]["output_per_mtok"] == "1.5"


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b"",
        b'{"input": NaN}',
        b'{"input": Infinity}',
        b'{"input": {"messages": [{"content": "\xff\xfe"}]}}',
        b'{"input": {"messages": [{"content": "\\ud800"}]}}',
        b'{"a": 1e999}',
        b"[" * 5_000 + b"]" * 5_000,
        b"\x00",
        b"'single'",
    ],
)
async def test_what_is_not_json_is_a_bad_request_by_that_name(market, raw):
    answer = await market.client.post("/v1/tasks", content=raw, headers={"content-type": "application/json"})
    if raw == b"":
        problem(answer, 422, "missing_field", "")
    else:
        problem(answer, 400, "invalid_json", "")


@pytest.mark.parametrize("raw", ["[]", "1", "null", '"text"', "true"])
async def test_a_body_that_is_no_object_is_refused(market, raw):
    answer = await market.client.post("/v1/tasks", content=raw, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == ""


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "", "garbage"])
async def test_another_content_type_than_json_is_refused_by_name(market, kind):
    body = json.dumps({"input": HELLO})
    answer = await market.client.post("/v1/tasks", content=body, headers={"content-type": kind})
    problem(answer, 415, "unsupported_media_type")


PATHS = [
    ("/v1/tasks/%00", 422, "nul_character"),
    ("/v1/tasks?task_type=%00", 422, "nul_character"),
    ("/v1/tasks?label.x=%00", 422, "nul_character"),
    ("/v1/auctions/a%00b", 422, "nul_character"),
    ("/v1/tasks/task_none", 404, "unknown_task"),
    ("/v1/tasks/%ff%fe", 404, "unknown_task"),
    ("/v1/tasks/" + "x" * 5_000, 404, "unknown_task"),
    ("/v1/offers/off_none", 404, "unknown_offer"),
    ("/v1/providers/prov_none", 404, "unknown_provider"),
    ("/v1/accounts/acct_none", 404, "not_found"),
    ("/v1/auctions/auc_none", 404, "unknown_auction"),
    ("/v1/auctions/auc_none/why?offer_id=off_x", 404, "unknown_auction"),
    ("/v1/feeds/feed_none", 404, "unknown_feed"),
    ("/v1/nothing", 404, "not_found"),
    ("/v1/tasks?stat=held", 422, "unknown_parameter"),
    ("/v1/tasks?label=x", 422, "unknown_parameter"),
    ("/v1/book?models=m", 422, "unknown_parameter"),
    ("/v1/offers?label.team=x", 422, "unknown_parameter"),
    ("/v1/tasks?limit=0", 422, "invalid_request"),
    ("/v1/tasks?limit=201", 422, "invalid_request"),
    ("/v1/tasks?limit=ten", 422, "invalid_request"),
    ("/v1/tasks?limit=99999999999999999999", 422, "invalid_request"),
    ("/v1/tasks?after=%22%27", 422, "invalid_request"),
    ("/v1/tasks?state=lost", 422, "invalid_request"),
    ("/v1/offers?after=off_none", 404, "unknown_offer"),
    ("/v1/auctions?outcome=lost", 422, "invalid_request"),
    ("/v1/auctions?from=yesterday", 422, "bad_time"),
    ("/v1/auctions?to=2026-01-01T00:00:00", 422, "naive_time"),
    ("/v1/auctions/export?format=xml", 422, "invalid_request"),
]


@pytest.mark.parametrize(("path", "status", "code"), PATHS)
async def test_a_path_or_query_that_is_wrong_is_a_problem(market, path, status, code):
    problem(await market.client.get(path), status, code)


async def test_a_wrong_method_is_405_and_says_which_are_allowed(market):
    answer = await market.client.put("/v1/tasks", json={})
    problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"]


async def test_an_event_id_beyond_all_numbers_is_refused(market):
    task = await market.post()
    path = f"/v1/tasks/{task['id']}/events"
    problem(await market.client.get(f"{path}?after={2**63}"), 422, "invalid_request")
    answer = await market.client.get(path, headers={"last-event-id": "9" * 40})
    assert answer.status_code == 200


async def test_no_key_an_unknown_key_and_a_wrong_role_are_told_apart(market):
    async with client_of(market.url, None) as nobody:
        answer = await nobody.get("/v1/tasks")
        problem(answer, 401, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"
        problem(await nobody.post("/v1/tasks", json={"input": HELLO}), 401, "unauthorized")
        basic = {"authorization": "Basic dXNlcjpwYXNz"}
        problem(await nobody.get("/v1/tasks", headers=basic), 401, "unauthorized")
    async with client_of(market.url, "lt_wrong") as wrong:
        problem(await wrong.get("/v1/tasks"), 401, "unauthorized")
    async with await market.key("requester") as requester:
        problem(await requester.get("/v1/keys"), 403, "forbidden")
        body = {"name": "x", "base_url": "https://a.example"}
        problem(await requester.post("/v1/providers", json=body), 403, "forbidden")
    async with await market.key("auditor") as auditor:
        problem(await auditor.post("/v1/tasks", json={"input": HELLO}), 403, "forbidden")


async def test_a_revoked_and_an_expired_key_are_refused(market):
    made = (await market.client.post("/v1/keys", json={"role": "requester"})).json()
    async with client_of(market.url, made["key"]) as client:
        assert (await client.get("/v1/tasks")).status_code == 200
        await market.client.delete(f"/v1/keys/{made['id']}")
        problem(await client.get("/v1/tasks"), 401, "unauthorized")
    async with await market.key("requester", expires_at="2020-01-01T00:00:00Z") as client:
        problem(await client.get("/v1/tasks"), 401, "key_expired")


async def test_an_idempotency_key_serves_one_body_only(market):
    headers = {"idempotency-key": "bad-input-1"}
    first = await market.client.post("/v1/tasks", json={"input": HELLO}, headers=headers)
    assert first.status_code == 201
    answer = await market.client.post("/v1/tasks", json={"input": HELLO, "wait_s": 1}, headers=headers)
    problem(answer, 409, "idempotency_key_reused")
    problem(
        await market.client.post("/v1/tasks", json={"input": HELLO}, headers={"idempotency-key": ""}),
        422,
        "empty_idempotency_key",
    )
    answer = await market.client.post(
        "/v1/tasks", json={"input": HELLO}, headers={"idempotency-key": "k" * 256}
    )
    problem(answer, 422, "invalid_request")


async def test_ten_megabytes_are_refused_at_once_by_their_stated_length(market):
    host, port = market.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST /v1/tasks HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {10 * MIB}\r\n\r\n"
    writer.write(head.encode())  # not one byte of the body
    raw = await asyncio.wait_for(reader.read(4_096), 3)
    writer.close()
    assert raw.startswith(b"HTTP/1.1 413")
    assert b"body_too_large" in raw


async def test_ten_megabytes_without_a_stated_length_are_refused_as_they_grow(market):
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(160):
            yield b" " * (MIB // 16)

    answer = await market.client.post(
        "/v1/tasks", content=chunks(), headers={"content-type": "application/json"}
    )
    problem(answer, 413, "body_too_large")


async def test_a_private_address_is_refused_unless_the_operator_allows_it(template, tmp_path):
    database = tmp_path / "private.db"
    shutil.copyfile(template, database)
    closed = {"LOWTIDE_ALLOW_PRIVATE_URLS": "false"}
    async with served_market(database, Upstreams(), "", closed) as served:
        for url in (
            "http://127.0.0.1:9/v1",
            "http://10.0.0.1/v1",
            "http://[::1]/v1",
            "http://169.254.169.254/v1",
        ):
            answer = await served.client.post("/v1/providers", json={"name": "p", "base_url": url})
            body = problem(answer, 422, "private_url", "/base_url")
            assert "this machine or a private network" in body["detail"]
            assert body["detail"].count(httpx.URL(url).host) == 1


async def test_an_unknown_parameter_is_pointed_at_with_those_that_are_known(market):
    answer = await market.client.get("/v1/book?modle=m")
    body = problem(answer, 422, "unknown_parameter", "?modle")
    assert "model, priced, provider" in body["detail"]
    assert (await market.client.get("/v1/tasks?label.team=x&state=held&limit=3")).status_code == 200


@pytest.mark.parametrize(
    "raw",
    [
        '{"name": "a", "name": "b"}',
        '{"name": "a", "credit_limit_usd": null, "credit_limit_usd": "1"}',
        '{"name": "a", "x": [{"y": {"z": 1, "z": 1}}]}',
    ],
)
async def test_a_field_given_twice_is_refused_by_name(market, raw):
    answer = await market.client.post(
        "/v1/accounts", content=raw, headers={"content-type": "application/json"}
    )
    body = problem(answer, 400, "duplicate_key")
    assert "twice" in body["detail"]


PASSING = [
    {"role": "developer", "content": "be brief"},
    {"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}]},
    {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function", "function": {}}]},
    {"role": "assistant", "refusal": "no"},
    {"role": "tool", "content": "sunny", "tool_call_id": "c"},
    {"role": "function", "name": "f", "content": "1"},
    {"role": "user", "content": "hi", "name": "ann", "anything": {"else": 1}},
]


@pytest.mark.parametrize("message", PASSING)
async def test_what_providers_take_as_a_message_passes(market, message):
    answer = await market.client.post("/v1/tasks/estimate", json={"input": {"messages": [message]}})
    assert answer.status_code == 200, answer.text


async def test_messages_say_what_to_send(market):
    async def detail(body: dict[str, Any]) -> str:
        answer = await market.client.post("/v1/tasks", json={"input": HELLO} | body)
        shown: str = answer.json()["detail"]
        return shown

    assert "at most 1." in await detail({"constraints": {"min_quality": 1.5}})
    assert "'failover', 'hedge' or 'escalate'" in await detail({"strategy": "guess"})
    assert (await detail({"strategy": "hedge"})).count("strategy") == 1
    late = await detail({"constraints": {"complete_by": "2020-01-01T00:00:00.5Z"}})
    assert "2020-01-01T00:00:00Z" in late
    assert not re.search(r"\d\.\d", late)
