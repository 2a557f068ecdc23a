"""Quotes over HTTP: bulk pushes all or nothing, forward curves, firmness, capacity, cancelling, and suspicious prices."""

from typing import Any

import httpx
import pytest

from lowtide.simulate.faults import Fault
from tests.contract.served import Served, ahead

ONE = {"input_per_mtok": "1", "output_per_mtok": "1"}
TWO = {"input_per_mtok": "2", "output_per_mtok": "2"}
HOUR_S = 3_600


async def price_of(service: Served, offer: str) -> str | None:
    """What an offer's input costs now; None where nothing covers now."""
    asks = (await service.client.get("/v1/book")).json()["data"]
    (found,) = [ask["prices"] for ask in asks if ask["offer_id"] == offer]
    return None if found is None else str(found["input_per_mtok"])


async def push(service: Served, offer: str, **body: Any) -> httpx.Response:
    """Push a quote."""
    return await service.client.post(f"/v1/offers/{offer}/quotes", json=body)


def refusal(answer: httpx.Response) -> tuple[int, str, str]:
    """Status, code, and the first pointer."""
    body = answer.json()
    return answer.status_code, body["code"], body["errors"][0]["pointer"]


async def test_a_bulk_push_is_all_or_nothing_and_points_at_the_quote_at_fault(service: Served):
    offers = [await service.offer(f"p{number}", None) for number in range(3)]
    quotes: list[dict[str, Any]] = [{"offer_id": offer, "prices": ONE} for offer in offers]
    bad = [*quotes[:2], quotes[2] | {"offer_id": "off_nobody"}]
    answer = await service.client.post("/v1/quotes", json={"quotes": bad})
    assert refusal(answer) == (404, "unknown_offer", "/quotes/2/offer_id")
    assert [await price_of(service, offer) for offer in offers] == [None, None, None]
    per_token = [*quotes[:1], quotes[1] | {"prices": {**ONE, "input_per_mtok": "0.00000025"}}]
    answer = await service.client.post("/v1/quotes", json={"quotes": per_token})
    assert refusal(answer) == (422, "price_unit", "/quotes/1/prices/input_per_mtok")
    made = await service.client.post("/v1/quotes", json={"quotes": quotes})
    assert (made.status_code, len(made.json()["quotes"])) == (201, 3)
    assert [await price_of(service, offer) for offer in offers] == ["1", "1", "1"]


async def test_a_late_or_repeated_push_changes_nothing(service: Served):
    offer = await service.offer("p", None)
    assert (await push(service, offer, prices=TWO, sequence=7)).status_code == 201
    for sequence in (7, 6):
        assert refusal(await push(service, offer, prices=ONE, sequence=sequence)) == (
            409,
            "stale_quote",
            "/sequence",
        )
    assert await price_of(service, offer) == "2"


async def test_the_slots_of_a_curve_follow_each_other_with_capacity_of_their_own(service: Served):
    offer = await service.offer("p", None)
    curve = [
        {"prices": TWO, "valid_until": ahead(HOUR_S)},
        {
            "prices": ONE,
            "valid_from": ahead(HOUR_S),
            "valid_until": ahead(2 * HOUR_S),
            "capacity": {"concurrency": 4},
        },
    ]
    made = (await push(service, offer, curve=curve, firm_until=ahead(HOUR_S))).json()
    assert [quote["capacity"] for quote in made["quotes"]] == [
        None,
        {"concurrency": 4, "requests_per_minute": None, "tokens_per_minute": None},
    ]
    assert all(quote["firm_until"] for quote in made["quotes"])
    overlapping = [{"prices": ONE}, {"prices": TWO, "valid_from": ahead(60)}]
    assert refusal(await push(service, offer, curve=overlapping)) == (
        422,
        "overlapping_quotes",
        "/curve/1/valid_from",
    )


async def test_a_slot_s_capacity_is_never_oversold(service: Served):
    offer = await service.offer("p", None)
    assert (await push(service, offer, prices=ONE, capacity={"concurrency": 1})).status_code == 201
    service.upstreams.fail("p", Fault("slow_first_token", delay_s=0.15))
    tasks = [await service.post() for _ in range(3)]
    ended = [await service.final(task["id"]) for task in tasks]
    assert [task["state"] for task in ended] == ["succeeded"] * 3
    assert service.upstreams.seen("p").most_at_once == 1


async def test_a_firm_quote_is_neither_cancelled_nor_made_dearer_nor_priced_from_elsewhere(service: Served):
    offer = await service.offer("p", None)
    firm = (await push(service, offer, prices=TWO, firm_until=ahead(HOUR_S))).json()["quotes"][0]
    assert (await service.client.delete(f"/v1/quotes/{firm['id']}")).json()["code"] == "quote_is_firm"
    dearer = {"input_per_mtok": "3", "output_per_mtok": "2"}
    assert refusal(await push(service, offer, prices=dearer)) == (409, "quote_is_firm", "/prices")
    tariff = {"zone": "UTC", "windows": [{"start": "00:00", "end": "00:00", "multiplier": "9"}]}
    feed = {
        "provider_id": service.provider_ids["p"],
        "kind": "tariff",
        "tariff": tariff,
        "offers": [{"offer_id": offer, "prices": ONE}],
    }
    assert (await service.client.post("/v1/feeds", json=feed)).json()["code"] == "quote_is_firm"
    assert (await push(service, offer, prices=ONE)).status_code == 201
    assert await price_of(service, offer) == "1"
    assert refusal(await push(service, offer, prices=dearer)) == (409, "quote_is_firm", "/prices")


async def test_a_firm_quote_cannot_be_taken_off_the_market_by_a_suspicious_a_scarcer_or_no_offer(
    service: Served,
):
    offer = await service.offer("p", None)
    await push(service, offer, prices=TWO, capacity={"concurrency": 10}, firm_until=ahead(HOUR_S))
    free = {"input_per_mtok": "0", "output_per_mtok": "0"}
    assert refusal(await push(service, offer, prices=free))[:2] == (409, "quote_is_firm")
    scarce = {"prices": TWO, "capacity": {"concurrency": 1}}
    assert refusal(await push(service, offer, **scarce))[:2] == (409, "quote_is_firm")
    seller = await service.key("provider", provider_id=service.provider_ids["p"])
    assert (await seller.delete(f"/v1/offers/{offer}")).json()["code"] == "quote_is_firm"
    assert await price_of(service, offer) == "2"
    assert (await service.client.delete(f"/v1/offers/{offer}")).status_code == 200


async def test_a_quote_binds_only_where_and_as_long_as_it_is_firm(service: Served):
    offer, begins = await service.offer("p", None), ahead(2 * HOUR_S)
    later = {"valid_from": begins, "valid_until": ahead(3 * HOUR_S)}
    firm = {"prices": ONE, **later, "firm_until": ahead(4 * HOUR_S)}
    assert (await push(service, offer, **firm)).status_code == 201
    today = (await push(service, offer, prices=TWO, valid_until=begins)).json()["quotes"][0]
    assert today["firm_until"] is None
    assert (await push(service, offer, prices=TWO, valid_from=ahead(5 * HOUR_S))).status_code == 201
    over = await push(service, offer, prices=TWO, valid_from=ahead(1.5 * HOUR_S))
    assert refusal(over) == (409, "quote_is_firm", "/prices")


async def test_the_highest_sequence_leaves_room_for_those_that_the_market_gives(service: Served):
    offer = await service.offer("p", None)
    assert (await push(service, offer, prices=ONE, sequence=2**52)).status_code == 201
    assert (await push(service, offer, prices=TWO)).status_code == 201
    assert await price_of(service, offer) == "2"
    assert refusal(await push(service, offer, prices=ONE, sequence=2**53 - 1)) == (
        422,
        "out_of_range",
        "/sequence",
    )


async def test_a_price_source_that_nobody_is_is_refused(service: Served):
    offer = await service.offer("p", "1")
    answer = await service.client.patch(f"/v1/offers/{offer}", json={"price_source": "nosuch"})
    assert refusal(answer) == (422, "unknown_source", "/price_source")
    assert await price_of(service, offer) == "1"


async def test_a_closed_window_sells_nothing_and_is_said_to_be_closed(service: Served):
    offer = await service.offer("p", None)
    window = {"start": "00:00", "end": "00:00", "multiplier": "1", "capacity": {"concurrency": 0}}
    feed = {
        "provider_id": service.provider_ids["p"],
        "kind": "tariff",
        "tariff": {"zone": "UTC", "windows": [window]},
        "offers": [{"offer_id": offer, "prices": ONE}],
    }
    assert (await service.client.post("/v1/feeds", json=feed)).status_code == 201
    (ask,) = (await service.client.get("/v1/book")).json()["data"]
    assert ask["capacity"]["concurrency"] == 0
    assert (await service.client.get("/v1/book?priced=true")).json()["data"] == []
    assert (await service.post())["reason"] == "no_valid_quote"


async def test_only_the_same_price_confirms_one_that_was_held_back(service: Served):
    offer = await service.offer("p", "1")
    for price, held in (("20", True), ("30", True), ("31", False)):
        body = {"input_per_mtok": price, "output_per_mtok": price}
        assert (await push(service, offer, prices=body)).json()["quotes"][0]["quarantined"] is held, price


async def test_a_task_is_not_queued_for_a_held_back_price_of_an_offer_that_it_does_not_admit(service: Served):
    offer = await service.offer("p", "1")
    await push(service, offer, prices={"input_per_mtok": "0", "output_per_mtok": "0"})
    task = await service.post(constraints={"models": ["another"]})
    assert (task["state"], task["reason"]) == ("unfilled", "not_allowed")
    assert task["nearest"]["reason"] == "not_allowed"


async def test_nobody_is_firm_for_more_than_two_days(service: Served):
    offer = await service.offer("p", None)
    answer = await push(service, offer, prices=ONE, firm_until=ahead(49 * HOUR_S))
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/firm_until")


async def test_a_cancelled_quote_ends_and_what_lay_below_it_counts_again(service: Served):
    offer = await service.offer("p", "1")
    later = (await push(service, offer, prices=TWO)).json()["quotes"][0]
    assert await price_of(service, offer) == "2"
    assert (await service.client.delete(f"/v1/quotes/{later['id']}")).status_code == 200
    assert await price_of(service, offer) == "1"


async def test_a_quote_keeps_where_it_came_from_when_and_the_hash_of_what_was_sent(service: Served):
    offer = await service.offer("p", "1")
    (quote,) = (await service.client.get(f"/v1/quotes?offer_id={offer}")).json()["data"]
    assert (quote["source"], len(quote["raw_sha256"])) == ("push", 64)
    assert quote["taken_at"] >= quote["valid_from"]


@pytest.mark.parametrize("price", ["10", "0.1", "0"])
async def test_a_jump_or_a_fall_to_zero_is_held_back_until_it_is_sent_again_or_confirmed(
    service: Served, price: str
):
    suspicious = {"input_per_mtok": price, "output_per_mtok": price}
    for confirmed_by in ("the next", "an operator"):
        offer = await service.offer(f"p{confirmed_by[0]}", "1", model=confirmed_by[0])
        held = (await push(service, offer, prices=suspicious)).json()["quotes"][0]
        assert held["quarantined"]
        assert held["held_back"].startswith("input ")
        task = await service.post(constraints={"models": [confirmed_by[0]]})
        assert task["reason"] == "quote_quarantined"
        if confirmed_by == "the next":
            again = (await push(service, offer, prices=suspicious)).json()["quotes"][0]
            assert not again["quarantined"]
        else:
            seller = await service.key("provider", provider_id=service.provider_ids[f"p{confirmed_by[0]}"])
            body = {"quarantined": False}
            assert (await seller.patch(f"/v1/quotes/{held['id']}", json=body)).status_code == 403
            assert (await service.client.patch(f"/v1/quotes/{held['id']}", json=body)).status_code == 200
        assert (await service.final(task["id"]))["state"] == "succeeded"


async def test_a_quote_that_lacks_a_token_price_is_taken_with_a_warning_that_its_offer_cannot_win(
    service: Served,
):
    offer = await service.offer("p", None)
    taken = (await push(service, offer, prices={"input_per_mtok": "1"})).json()["quotes"][0]
    assert taken["prices"]["output_per_mtok"] is None
    assert "output_per_mtok" in taken["warning"]
    assert "cannot win" in taken["warning"]
    task = await service.post()
    assert (task["state"], task["reason"]) == ("unfilled", "unpriced")
    other = await service.offer("q", None)
    per_request = (await push(service, other, prices={"per_request": "0.01"})).json()["quotes"][0]
    assert "input_per_mtok and output_per_mtok" in per_request["warning"]
    # Embeddings and the like have no output to pay for: then that price is said to be zero.
    whole = (await push(service, offer, prices={"input_per_mtok": "1", "output_per_mtok": "0"})).json()
    assert whole["quotes"][0]["warning"] is None
    assert (await service.done())["state"] == "succeeded"


async def test_each_slot_and_each_quote_of_a_push_has_its_own_warning(service: Served):
    first, second = await service.offer("p", None), await service.offer("q", None)
    half = {"output_per_mtok": "1"}
    curve = [{"prices": ONE, "valid_until": ahead(HOUR_S)}, {"prices": half, "valid_from": ahead(HOUR_S)}]
    quotes = [{"offer_id": first, "curve": curve}, {"offer_id": second, "prices": half}]
    made = (await service.client.post("/v1/quotes", json={"quotes": quotes})).json()["quotes"]
    assert [one["warning"] is None for one in made] == [True, False, False]
    assert "input_per_mtok" in made[1]["warning"]
