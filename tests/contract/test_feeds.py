"""Feeds over real HTTP: what is registered, read again, failing, silent and closed; the servers are simulated ones."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from lowtide.exchange.feed_runs import FeedRuns
from lowtide.simulate.clock import SteppedClock
from lowtide.simulate.feed_faults import FeedFault
from lowtide.simulate.feed_server import FeedServer, feed_server
from lowtide.store import providers
from lowtide.store.tables import Feed
from tests.contract.served import Served, ahead, served_market

PATH = "/prices.json"
SECOND_US = 1_000_000


def price_list(price: str = "1", *names: str, **more: Any) -> bytes:
    """A list in our own format: every model at one price."""
    prices = {"input_per_mtok": price, "output_per_mtok": price}
    models = [{"model": name, "prices": prices} for name in names or ("m",)]
    return json.dumps({"format": "lowtide/1", "currency": "USD", "models": models, **more}).encode()


@pytest.fixture
async def lists() -> AsyncIterator[tuple[FeedServer, str]]:
    """A server of price lists, and its address."""
    async with feed_server() as served:
        yield served


async def registered(service: Served, url: str, provider: str = "sim", **fields: Any) -> dict[str, Any]:
    """Register a polled feed; as it was answered."""
    if provider not in service.provider_ids:
        await service.provider(provider)
    body = {"provider_id": service.provider_ids[provider], "kind": "poll", "url": url, **fields}
    made = await service.client.post("/v1/feeds", json=body)
    assert made.status_code == 201, made.text
    answer: dict[str, Any] = made.json()
    return answer


async def stored(service: Served, feed_id: str) -> Feed:
    """A feed's row."""
    async with service.running.market.database.read() as conn:
        found = await providers.get_feed(conn, feed_id)
    assert found is not None
    return found


async def read_again(service: Served, feed_id: str, **health: Any) -> dict[str, Any]:
    """Let a feed be due, and wait for its run; `health` is what is changed of it before. The feed as it stands then."""
    row = await stored(service, feed_id)
    fresh = orjson.dumps(orjson.loads(row.health) | health).decode()
    market, runs = service.running.market, service.running.sweeps.feed_runs
    await market.database.writer.write(
        lambda conn: providers.update_health(conn, feed_id, fresh, market.now())
    )
    await runs.look()
    await runs.idle()
    return await feed_of(service, feed_id)


async def feed_of(service: Served, feed_id: str) -> dict[str, Any]:
    """A feed as it stands."""
    found: dict[str, Any] = (await service.client.get(f"/v1/feeds/{feed_id}")).json()
    return found


async def ask(service: Served, model: str = "m") -> dict[str, Any] | None:
    """The book's ask for a model; None where there is none."""
    found = (await service.client.get(f"/v1/book?model={model}")).json()["data"]
    return found[0] if found else None


async def input_price(service: Served, model: str = "m") -> str | None:
    """What a model's input costs now."""
    found = await ask(service, model)
    return None if found is None or found["prices"] is None else found["prices"]["input_per_mtok"]


async def test_a_polled_list_is_in_the_book_when_its_registration_is_answered_and_wins_tasks(service, lists):
    server, base = lists
    server.set_document(PATH, price_list("2", "m", "n"))
    feed = await registered(service, base + PATH)
    assert (feed["state"], feed["health"]["format"], feed["health"]["models"]) == ("ok", "lowtide", 2)
    assert [(one["model"], one["prices"]["input_per_mtok"]) for one in feed["understood"]] == [
        ("m", "2"),
        ("n", "2"),
    ]
    assert await input_price(service) == "2"
    assert (await service.done(constraints={"models": ["n"]}))["state"] == "succeeded"


async def test_the_answer_has_the_prices_that_follow_and_the_fields_that_nobody_reads(service, lists):
    server, base = lists
    prices = {"input_per_mtok": "1", "output_per_mtok": "2"}
    curve = [
        {"prices": prices, "valid_from": ahead(60 * hour), "valid_until": ahead(60 * hour + 30)}
        for hour in range(1, 13)
    ]
    curve[0]["capacity"] = {"concurrency": 0}
    server.set_document(PATH, price_list(models=[{"model": "m", "curve": curve, "qualty": "0.9"}]))
    feed = await registered(service, base + PATH)
    (offer,) = feed["understood"]
    assert (offer["prices"], offer["quotes_count"], len(offer["quotes"])) == (None, 12, 10)
    assert offer["quotes"][0]["valid_from"] == curve[0]["valid_from"]
    assert offer["quotes"][0]["capacity"]["concurrency"] == 0
    assert offer["quotes"][1]["capacity"] is None
    assert feed["ignored"] == ["qualty"]


async def test_changed_prices_come_in_at_the_next_run_and_unchanged_ones_are_not_sent_again(service, lists):
    server, base = lists
    server.set_document(PATH, price_list("2"))
    feed = await registered(service, base + PATH)
    before = (await service.client.get("/v1/book")).json()["book_version"]
    same = await read_again(service, feed["id"])
    assert server.seen(PATH).not_modified == 1
    assert same["health"]["quotes_accepted"] == 0
    assert (await service.client.get("/v1/book")).json()["book_version"] == before
    server.set_document(PATH, price_list("3"))
    changed = await read_again(service, feed["id"])
    assert changed["health"]["quotes_accepted"] == 1
    assert await input_price(service) == "3"


async def test_a_broken_entry_is_refused_alone_and_a_unit_mistake_is_named(service, lists):
    server, base = lists
    models = [
        {"model": "m", "prices": {"input_per_mtok": "1", "output_per_mtok": "1"}},
        {"model": "per-token", "prices": {"input_per_mtok": "0.00000025", "output_per_mtok": "1"}},
        {"model": "negative", "prices": {"input_per_mtok": "-1", "output_per_mtok": "1"}},
    ]
    server.set_document(PATH, price_list(models=models))
    feed = await registered(service, base + PATH)
    refused = {one["entry"]: (one["code"], one["pointer"]) for one in feed["health"]["refused"]}
    assert refused == {
        "per-token": ("price_unit", "/models/1/prices/input_per_mtok"),
        "negative": ("negative_price", "/models/2/prices/input_per_mtok"),
    }
    assert feed["health"]["quotes_refused"] == 2
    assert await input_price(service) == "1"


@pytest.mark.parametrize(
    ("fault", "details", "code"),
    [
        ("garbage", {}, "unknown_format"),
        ("hang", {}, "feed_timeout"),
        ("drip", {"interval_s": 0.05}, "feed_timeout"),
        ("circle", {}, "feed_redirects"),
        ("chain", {}, "feed_redirects"),
        ("endless", {}, "feed_too_large"),
        ("gzip_bomb", {}, "feed_too_large"),
        ("cut", {}, "feed_unreachable"),
        ("empty", {}, "feed_empty"),
        ("status", {"status": 503}, "feed_http_status"),
    ],
)
async def test_a_feed_that_misbehaves_harms_nothing_but_its_own_health(service, lists, fault, details, code):
    server, base = lists
    server.set_document(PATH, price_list("2"))
    feed = await registered(service, base + PATH)
    server.fail(PATH, FeedFault(fault, **details))
    soon = service.running.market.now() + 60 * SECOND_US
    ill = await read_again(service, feed["id"], valid_until=soon)
    assert ill["health"]["errors"][-1]["code"] == code
    assert ill["health"]["failures"] == 1
    assert await input_price(service) == "2"
    assert (await service.done(constraints={"models": ["m"]}))["state"] == "succeeded"
    server.heal(PATH)
    well = await read_again(service, feed["id"])
    assert (well["state"], well["health"]["failures"]) == ("ok", 0)
    refused = await service.client.post(
        "/v1/feeds",
        json={
            "provider_id": service.provider_ids["sim"],
            "kind": "poll",
            "url": f"{base}/nothing-there",
        },
    )
    assert (refused.status_code, refused.json()["code"]) == (422, "feed_http_status")
    assert refused.json()["errors"][0]["pointer"] == "/url"


async def test_each_failure_doubles_the_wait_and_a_retry_after_is_kept(service, lists):
    server, base = lists
    server.set_document(PATH, price_list())
    feed = await registered(service, base + PATH, interval_s=60)
    market = service.running.market
    server.fail(PATH, FeedFault("status", status=500))
    waits = []
    for _ in range(3):
        await read_again(service, feed["id"])
        waits.append(((await stored(service, feed["id"])).due_at - market.now()) / SECOND_US)
    for wait, least in zip(waits, (120, 240, 480), strict=True):
        assert least - 5 <= wait <= least * 1.1 + 1
    server.heal(PATH)
    server.fail(PATH, FeedFault("status", status=429, retry_after="1800"))
    await read_again(service, feed["id"], failures=0)
    assert 1_790 <= ((await stored(service, feed["id"])).due_at - market.now()) / SECOND_US <= 1_981


async def test_a_feed_gone_silent_says_so_and_is_looked_at_when_its_quotes_lapse(service, lists):
    server, base = lists
    server.set_document(PATH, price_list())
    feed = await registered(service, base + PATH, interval_s=600, valid_for_s=1_200)
    server.fail(PATH, FeedFault("status", status=500))
    market = service.running.market
    lapse = market.now() + 300 * SECOND_US
    failing = await read_again(service, feed["id"], valid_until=lapse)
    assert failing["state"] == "failing"
    assert (await stored(service, feed["id"])).due_at == lapse
    silent = await read_again(service, feed["id"], valid_until=market.now() - SECOND_US)
    assert silent["state"] == "silent"
    assert silent["health"]["errors"][0]["code"] == "feed_silent"
    assert (await service.client.get("/readyz")).json()["feeds"] == {"ok": 0, "failing": 0, "silent": 1}


async def test_quotes_end_when_the_feed_says_so(service, lists):
    server, base = lists
    server.set_document(PATH, price_list())
    feed = await registered(service, base + PATH, interval_s=60, valid_for_s=120)
    first = (await ask(service))["valid_until"]
    assert first == feed["health"]["valid_until"]


async def test_quotes_are_renewed_while_the_feed_answers_and_lapse_once_it_does_not(
    template, tmp_path, upstreams, lists
):
    server, base = lists
    server.set_document(PATH, price_list())
    database, clock = tmp_path / "market.db", SteppedClock(datetime(2026, 11, 25, 8, tzinfo=UTC))
    database.write_bytes(template.read_bytes())
    async with served_market(database, upstreams, "http://x", clock=clock) as service:
        feed = await registered(service, base + PATH, interval_s=60, valid_for_s=120)
        runs = service.running.sweeps.feed_runs
        for minute in range(1, 5):
            clock.advance_to(datetime(2026, 11, 25, 8, 2 * minute - 1, 10, tzinfo=UTC))
            await runs.look()
            await runs.idle()
            assert await input_price(service) == "1", minute
        server.fail(PATH, FeedFault("status"))
        clock.advance_to(datetime(2026, 11, 25, 8, 9, 20, tzinfo=UTC))
        await runs.look()
        await runs.idle()
        assert await input_price(service) is None
        assert (await feed_of(service, feed["id"]))["state"] == "silent"


async def test_a_price_that_jumps_is_held_back_until_the_next_reading_confirms_it(service, lists):
    server, base = lists
    server.set_document(PATH, price_list("1"))
    feed = await registered(service, base + PATH)
    server.set_document(PATH, price_list("10"))
    suspicious = await read_again(service, feed["id"])
    assert suspicious["health"]["quotes_held_back"] == 1
    assert "jumps from $1 to $10" in suspicious["health"]["held_back"][0]
    unfilled = await service.post(constraints={"models": ["m"]})
    assert (unfilled["state"], unfilled["reason"]) == ("queued", "quote_quarantined")
    assert unfilled["nearest"]["bid_usd"] is None
    confirmed = await read_again(service, feed["id"])
    assert (confirmed["health"]["quotes_held_back"], confirmed["health"]["quotes_accepted"]) == (0, 1)
    assert await input_price(service) == "10"


async def test_what_a_list_has_no_longer_is_withdrawn_unless_most_is_gone_at_once(service, lists):
    server, base = lists
    names = [f"m{number}" for number in range(12)]
    server.set_document(PATH, price_list("1", *names))
    feed = await registered(service, base + PATH)
    server.set_document(PATH, price_list("1", *names[1:]))
    assert (await read_again(service, feed["id"]))["health"]["withdrawn"] == 1
    assert await ask(service, "m0") is None
    server.set_document(PATH, price_list("1", *names[1:3]))
    shrunk = await read_again(service, feed["id"])
    assert shrunk["health"]["errors"][0]["code"] == "feed_shrunk"
    assert await input_price(service, "m9") == "1"


async def test_the_provider_s_key_goes_to_the_provider_s_own_address_only(
    template, tmp_path, upstreams, lists
):
    server, base = lists
    server.set_document(PATH, price_list())
    database = tmp_path / "market.db"
    database.write_bytes(template.read_bytes())
    async with served_market(database, upstreams, "http://x", {"SIM_API_KEY": "sk-secret"}) as service:
        await service.provider("near", f"{base}/v1", credential_env=["SIM_API_KEY"])
        await registered(service, base + PATH, "near", authorize=True)
        assert server.seen(PATH).headers["authorization"] == "Bearer sk-secret"
        await service.provider("far", "http://127.0.0.1:9/v1", credential_env=["SIM_API_KEY"])
        await registered(service, base + PATH, "far", authorize=True)
        assert "authorization" not in server.seen(PATH).headers


@pytest.mark.parametrize(
    ("url", "code"),
    [("http://127.0.0.1:9/x", "private_url"), ("http://169.254.169.254/latest", "private_url")],
)
async def test_a_private_address_is_refused_unless_the_operator_allows_it(
    template, tmp_path, upstreams, url, code
):
    database = tmp_path / "market.db"
    database.write_bytes(template.read_bytes())
    closed = {"LOWTIDE_ALLOW_PRIVATE_URLS": "false"}
    async with served_market(database, upstreams, "http://x", closed) as service:
        provider = await service.provider("far", "http://1.1.1.1/v1")
        polled = {"provider_id": provider, "kind": "poll", "url": url}
        live = {"provider_id": provider, "kind": "live", "bid_url": url}
        for body, pointer in ((polled, "/url"), (live, "/bid_url")):
            refused = await service.client.post("/v1/feeds", json=body)
            assert (refused.status_code, refused.json()["code"]) == (422, code)
            assert refused.json()["errors"][0]["pointer"] == pointer
        assert (await service.client.get("/v1/feeds")).json()["data"] == []


async def test_a_tariff_prices_offers_by_the_seller_s_clock(service):
    offer = await service.offer("sim", "1")
    body = {
        "provider_id": service.provider_ids["sim"],
        "kind": "tariff",
        "tariff": {
            "zone": "Asia/Shanghai",
            "windows": [{"start": "00:00", "end": "12:00", "multiplier": "0.5"}],
        },
        "offers": [{"offer_id": offer, "prices": {"input_per_mtok": "4", "output_per_mtok": "8"}}],
    }
    made = await service.client.post("/v1/feeds", json=body)
    assert made.status_code == 201, made.text
    feed = made.json()
    assert feed["health"]["quotes_accepted"] >= 14
    shown = (await service.client.get(f"/v1/offers/{offer}")).json()
    assert shown["price_source"] == feed["id"]
    assert {one["prices"]["input_per_mtok"] for one in shown["quotes"]} == {"4", "2"}
    again = (await service.client.post(f"/v1/feeds/{feed['id']}/run")).json()
    assert again["health"]["quotes_accepted"] == 0
    await service.client.delete(f"/v1/offers/{offer}")
    assert (await service.client.post(f"/v1/feeds/{feed['id']}/run")).status_code == 200


async def test_a_feed_that_lacks_a_token_price_warns_that_its_offers_cannot_win(service, lists):
    server, url = lists
    half = [{"model": "half", "prices": {"input_per_mtok": "1"}}, {"model": "named"}]
    whole = {"model": "whole", "prices": {"input_per_mtok": "1", "output_per_mtok": "0"}}
    server.set_document(PATH, price_list(models=[*half, whole]))
    (warning,) = (await registered(service, f"{url}{PATH}"))["warnings"]
    assert "half, named" in warning
    assert "whole" not in warning
    offer = await service.offer("sim", None, model="other")
    body = {
        "provider_id": service.provider_ids["sim"],
        "kind": "tariff",
        "tariff": {"zone": "UTC", "windows": [{"start": "22:00", "end": "06:00", "multiplier": "0.5"}]},
        "offers": [{"offer_id": offer, "prices": {"output_per_mtok": "8"}}],
    }
    (warning,) = (await service.client.post("/v1/feeds", json=body)).json()["warnings"]
    assert offer in warning
    body["offers"] = [{"offer_id": offer, "prices": {"input_per_mtok": "4", "output_per_mtok": "8"}}]
    assert (await service.client.post("/v1/feeds", json=body)).json()["warnings"] == []


async def test_a_tariff_that_cannot_be_read_or_prices_another_s_offer_is_refused(service):
    offer = await service.offer("sim", "1")
    other = await service.provider("other")
    tariff = {"zone": "Europe/Berlin", "windows": [{"start": "22:00", "end": "06:00", "multiplier": "0.5"}]}
    prices = {"input_per_mtok": "4", "output_per_mtok": "8"}
    body = {
        "provider_id": other,
        "kind": "tariff",
        "tariff": tariff,
        "offers": [{"offer_id": offer, "prices": prices}],
    }
    refused = (await service.client.post("/v1/feeds", json=body)).json()
    assert (refused["code"], refused["errors"][0]["pointer"]) == ("unknown_offer", "/offers/0/offer_id")
    bad = body | {"tariff": {**tariff, "zone": "Europe/Atlantis"}}
    refused = (await service.client.post("/v1/feeds", json=bad)).json()
    assert (refused["code"], refused["errors"][0]["pointer"]) == ("bad_tariff", "/tariff")
    assert (await service.client.get("/v1/feeds")).json()["data"] == []


async def test_the_catalog_s_prices_of_a_provider_can_be_taken(service):
    provider = await service.provider("mine")
    body = {
        "provider_id": provider,
        "kind": "catalog",
        "catalog": "openai",
        "include": ["gpt-4o-mini"],
        "lanes": ["standard", "batch"],
    }
    feed = (await service.client.post("/v1/feeds", json=body)).json()
    assert [(one["model"], one["lane"]) for one in feed["understood"]] == [
        ("gpt-4o-mini", "standard"),
        ("gpt-4o-mini", "batch"),
    ]
    unknown = await service.client.post("/v1/feeds", json=body | {"catalog": "nobody"})
    assert unknown.json()["errors"][0]["pointer"] == "/catalog"
    nothing = await service.client.post("/v1/feeds", json=body | {"include": ["no-such-*"]})
    assert (nothing.status_code, nothing.json()["code"]) == (422, "empty_feed")


async def test_a_live_feed_s_secret_is_told_to_who_registers_it_and_to_nobody_later(service):
    provider = await service.provider("mine")
    body = {"provider_id": provider, "kind": "live", "bid_url": "http://127.0.0.1:9/bid?key=k"}
    headers = {"Idempotency-Key": "one"}
    made = (await service.client.post("/v1/feeds", json=body, headers=headers)).json()
    assert made["secret"].startswith("whsec_")
    again = (await service.client.post("/v1/feeds", json=body, headers=headers)).json()
    assert (again["id"], again["secret"]) == (made["id"], made["secret"])
    assert "secret" not in await feed_of(service, made["id"])
    auditor = await service.key("auditor")
    assert "key=k" not in (await auditor.get("/v1/feeds")).text
    run = await service.client.post(f"/v1/feeds/{made['id']}/run")
    assert (run.status_code, run.json()["code"]) == (409, "nothing_to_run")


async def test_a_provider_s_key_manages_its_own_feeds_only(service, lists):
    server, base = lists
    server.set_document(PATH, price_list())
    feed = await registered(service, base + PATH)
    other = await service.key("provider", provider_id=await service.provider("other"))
    own = await service.key("provider", provider_id=service.provider_ids["sim"])
    for method, path in (("GET", ""), ("POST", "/run"), ("DELETE", "")):
        assert (await other.request(method, f"/v1/feeds/{feed['id']}{path}")).status_code == 403
    assert (await other.get("/v1/feeds")).json()["data"] == []
    body = {"provider_id": service.provider_ids["sim"], "kind": "poll", "url": base + PATH}
    assert (await other.post("/v1/feeds", json=body)).status_code == 403
    assert (await own.post(f"/v1/feeds/{feed['id']}/run")).status_code == 200


async def test_closing_a_feed_withdraws_what_it_listed_and_ends_its_runs(service, lists):
    server, base = lists
    server.set_document(PATH, price_list())
    feed = await registered(service, base + PATH)
    closed = (await service.client.delete(f"/v1/feeds/{feed['id']}")).json()
    assert (closed["state"], closed["due_at"]) == ("closed", None)
    assert await ask(service) is None
    run = await service.client.post(f"/v1/feeds/{feed['id']}/run")
    assert (run.status_code, run.json()["code"]) == (409, "feed_closed")


async def test_what_a_closed_feed_listed_is_listed_again_by_the_next_feed_that_has_it(service, lists):
    server, base = lists
    server.set_document(PATH, price_list("1"))
    first = await registered(service, base + PATH)
    second = await registered(service, base + PATH)
    assert second["health"]["reference_only"] == 1
    await service.client.delete(f"/v1/feeds/{first['id']}")
    runs = service.running.sweeps.feed_runs
    await runs.look()
    await runs.idle()
    assert await input_price(service) == "1"
    await service.client.delete(f"/v1/feeds/{second['id']}")
    assert await ask(service) is None
    await registered(service, base + PATH)
    assert await input_price(service) == "1"


async def test_an_offer_that_was_withdrawn_by_hand_stays_so_whatever_the_list_has(service, lists):
    server, base = lists
    server.set_document(PATH, price_list("1"))
    feed = await registered(service, base + PATH)
    await service.client.delete(f"/v1/offers/{(await ask(service))['offer_id']}")
    server.set_document(PATH, price_list("2"))
    await read_again(service, feed["id"])
    assert await ask(service) is None


async def test_quotes_of_every_source_keep_the_hash_of_what_they_were_made_from(service):
    offer = await service.offer("sim", "1")
    tariff = {"zone": "UTC", "windows": [{"start": "00:00", "end": "12:00", "multiplier": "0.5"}]}
    prices = {"input_per_mtok": "4", "output_per_mtok": "8"}
    provider = service.provider_ids["sim"]
    for body in (
        {"kind": "tariff", "tariff": tariff, "offers": [{"offer_id": offer, "prices": prices}]},
        {"kind": "catalog", "catalog": "openai", "include": ["gpt-4o-mini"]},
    ):
        made = await service.client.post("/v1/feeds", json={"provider_id": provider, **body})
        assert made.status_code == 201, made.text
    quotes = (await service.client.get("/v1/quotes")).json()["data"]
    assert all(len(quote["raw_sha256"]) == 64 for quote in quotes)


@pytest.mark.parametrize(
    ("change", "pointer", "code"),
    [
        ({"kind": "carrier-pigeon"}, "/kind", "unknown_kind"),
        ({"interval_s": 1}, "/interval_s", "invalid_value"),
        ({"interval_s": 600, "valid_for_s": 900}, "/valid_for_s", "out_of_range"),
        ({"format": "yaml"}, "/format", "unknown_format"),
        ({"format": "litellm"}, "/format", "not_this_format"),
        ({"url": "ftp://x"}, "/url", "not_a_url"),
        ({"bid_url": "http://x"}, "/bid_url", "unknown_field"),
    ],
)
async def test_a_bad_registration_names_the_field(service, lists, change, pointer, code):
    server, base = lists
    server.set_document(PATH, price_list())
    body = {"provider_id": await service.provider("sim"), "kind": "poll", "url": base + PATH, **change}
    refused = await service.client.post("/v1/feeds", json=body)
    assert refused.status_code == 422, refused.text
    assert [(one["pointer"], one["code"]) for one in refused.json()["errors"]] == [(pointer, code)]


async def test_one_node_reads_a_feed_that_two_see_due(service, lists):
    server, base = lists
    server.set_document(PATH, price_list())
    feed = await registered(service, base + PATH)
    market = service.running.market
    row = await stored(service, feed["id"])
    await market.database.writer.write(
        lambda conn: providers.update_health(conn, row.id, row.health, market.now())
    )
    nodes = [service.running.sweeps.feed_runs, FeedRuns(replace(market, node="another"))]
    for runs in nodes:
        await runs.look()
    for runs in nodes:
        await runs.idle()
    assert server.seen(PATH).requests == 2
