"""The book's filters, its pages, and what it knows of hours ahead."""

from typing import Any

import pytest

from tests.contract.served import Served, ahead


async def names(service: Served, **params: Any) -> list[str]:
    """The models of the asks that a filter shows."""
    answer = await service.client.get("/v1/book", params=params)
    assert answer.status_code == 200, answer.text
    return [ask["model"] for ask in answer.json()["data"]]


async def stalls(service: Served) -> None:
    """Three offers of three providers, one of them without a price."""
    good = [{"domain": "general", "quality": 0.97, "sample_size": 500}]
    await service.offer(
        "north", "1", model="gpt-x", quality_claims=good, features=["tools", "json_schema"], regions=["eu"]
    )
    await service.offer("north-2", "3", model="gpt-x-mini", lane="batch", features=["tools"])
    await service.offer("south", None, model="claude-x", upstream_model="claude-x-2", zero_retention=True)


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, ["gpt-x", "gpt-x-mini", "claude-x"]),
        ({"model": "gpt-x"}, ["gpt-x"]),
        ({"model": "gpt-*"}, ["gpt-x", "gpt-x-mini"]),
        ({"model": "claude-x-?"}, ["claude-x"]),
        ({"provider": "north*"}, ["gpt-x", "gpt-x-mini"]),
        ({"provider": "south"}, ["claude-x"]),
        ({"lane": "batch"}, ["gpt-x-mini"]),
        ({"feature": "tools"}, ["gpt-x", "gpt-x-mini"]),
        ({"feature": ["tools", "json_schema"]}, ["gpt-x"]),
        ({"region": "eu"}, ["gpt-x"]),
        ({"zero_retention": "true"}, ["claude-x"]),
        ({"min_quality": "0.9"}, ["gpt-x"]),
        ({"max_input_per_mtok": "2"}, ["gpt-x"]),
        ({"max_output_per_mtok": "3"}, ["gpt-x", "gpt-x-mini"]),
        ({"priced": "true"}, ["gpt-x", "gpt-x-mini"]),
        ({"priced": "true", "model": "claude*"}, []),
    ],
)
async def test_a_filter_shows_what_was_asked_for(
    service: Served, params: dict[str, Any], expected: list[str]
):
    await stalls(service)
    assert await names(service, **params) == expected


async def test_a_price_that_is_held_back_is_no_price_to_a_filter(service: Served):
    offer = await service.offer()
    held = (await service.quote(offer, "100")).json()["quotes"][0]
    assert held["quarantined"]
    (ask,) = (await service.client.get("/v1/book")).json()["data"]
    assert ask["quarantined"]
    assert await names(service, priced="true") == []


async def test_pages_follow_each_other_in_the_order_of_registration(service: Served):
    offers = [await service.offer(price=None, model=f"m{number}") for number in range(5)]
    seen, after = [], None
    while True:
        params = {"limit": 2, "model": "m*"} | ({} if after is None else {"after": after})
        page = (await service.client.get("/v1/book", params=params)).json()
        seen += [ask["offer_id"] for ask in page["data"]]
        assert len(page["data"]) <= 2
        after = page["next"]
        if after is None:
            break
    assert seen == offers
    unknown = await service.client.get("/v1/book?after=off_none")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_offer")


async def test_the_book_can_be_asked_for_an_hour_ahead_but_not_for_the_past(service: Served):
    offer = await service.offer(price=None)
    step = ahead(3_600)
    curve = [
        {"prices": {"input_per_mtok": "5", "output_per_mtok": "5"}, "valid_until": step},
        {"prices": {"input_per_mtok": "1", "output_per_mtok": "1"}, "valid_from": step},
    ]
    await service.client.post(f"/v1/offers/{offer}/quotes", json={"curve": curve})
    assert await names(service, max_input_per_mtok="2") == []
    assert await names(service, max_input_per_mtok="2", at=ahead(3_700)) == ["m"]
    for at in (ahead(-90), ahead(8 * 86_400)):
        refused = await service.client.get("/v1/book", params={"at": at})
        assert (refused.status_code, refused.json()["code"]) == (422, "out_of_range")
        assert "/prices" in refused.json()["detail"]
