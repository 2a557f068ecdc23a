"""Where places are few: no more tasks are held than can still be run before their deadlines."""

import asyncio

from tests.contract.served import Served, ahead

SLOW = {"p50_ms": 4_000, "p95_ms": 5_000, "tokens_per_second": 1_000}


async def test_what_would_crowd_the_latest_starts_does_not_wait_for_the_cheap_hour(service: Served):
    offer = await service.offer(price=None, latency=SLOW, capacity={"concurrency": 1})
    step = ahead(4)
    curve = [
        {"prices": {"input_per_mtok": "10", "output_per_mtok": "10"}, "valid_until": step},
        {"prices": {"input_per_mtok": "1", "output_per_mtok": "1"}, "valid_from": step},
    ]
    pushed = await service.client.post(f"/v1/offers/{offer}/quotes", json={"curve": curve})
    assert pushed.status_code == 201, pushed.text
    posted = [await service.post(constraints={"complete_within_s": 120}) for _ in range(20)]
    held = [task for task in posted if task["state"] == "held"]
    # 120 s less the guard and a second try leave room for seven runs of 10 s in the only place.
    assert 4 <= len(held) <= 8
    at_once = next(task for task in posted if task["state"] != "held")
    again = await service.client.post(f"/v1/auctions/{at_once['auction_id']}/replay")
    assert again.json()["identical"] is True
    auction = (await service.client.get(f"/v1/auctions/{at_once['auction_id']}")).json()
    assert at_once["state"] == "queued" or "It did not wait" in auction["explanation"]
    ended = await asyncio.gather(*(service.final(task["id"], 30) for task in posted))
    assert [task["state"] for task in ended] == ["succeeded"] * 20
    assert all(task["receipt"]["deadline_met"] for task in ended)
