"""Two sellers of one model, each with prices of its own: a task that both may serve waits for the cheaper of them."""

import hashlib
from datetime import timedelta
from functools import partial

from tests.contract.stepping import START, with_history
from tests.contract.test_cli_prices import run
from tests.contract.test_forecasts import at, to

DAYS = 35


def price(seller: str, hour: int) -> int:
    """USD per billion tokens: drawn anew each hour, dear in the hour that the test begins with."""
    drawn = int.from_bytes(hashlib.sha256(f"{seller}{hour}".encode()).digest()[:2], "big") / 65_535
    return 2_900 if hour == 0 else round(1_000 + 2_000 * drawn)


async def test_a_task_waits_for_the_cheapest_of_its_pool_and_the_pool_is_told(stepped):
    service, clock = stepped
    made = [await with_history(service, seller, partial(price, seller), DAYS) for seller in ("one", "two")]
    await to(service, clock, 0.05)
    task = await service.post(constraints={"complete_by": at(6.5)})
    assert (task["state"], task["hold"]["policy"]) == ("held", "pool")
    assert "the cheapest offer of m" in task["hold"]["reason"]
    replayed = await service.client.post(f"/v1/auctions/{task['auction_id']}/replay")
    assert replayed.json()["identical"] is True
    told = (await service.client.get(f"/v1/offers/{made[0]}/forecast")).json()["pool"]
    assert sorted(told["offer_ids"]) == sorted(made)
    by_slack = {score["slack_hours"]: score for score in told["score"]}
    assert by_slack[6]["used"]
    assert by_slack[6]["captured"] > by_slack[6]["captured_alone"]
    shown = await run(service, made[0], command="forecast")
    assert "any of the 2 offers of its model and lane" in shown.output
    # One of them falls far below what was expected: it is taken at once.
    clock.advance_to(START + timedelta(minutes=30))
    assert (await service.quote(made[1], "0.5")).status_code == 201
    await service.running.sweeps.release()
    ended = await service.final(task["id"])
    assert ended["award"]["offer_id"] == made[1]


async def test_an_offer_without_another_like_it_is_in_no_pool(stepped):
    service, clock = stepped
    alone = await with_history(service, "one", partial(price, "one"), DAYS)
    await service.offer("other", "1", model="another")
    await to(service, clock, 0.05)
    told = (await service.client.get(f"/v1/offers/{alone}/forecast")).json()
    assert told["score"]
    assert told["pool"] is None
