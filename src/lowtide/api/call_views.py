"""What the market shows of call auctions, and of the scarcity that they found."""

from typing import Any

import orjson

from lowtide.api.auction_views import recorded
from lowtide.api.views import when
from lowtide.exchange.review_call import ReviewedCall
from lowtide.exchange.scarcity import Priced, priced
from lowtide.market.clearing.outcome import Cleared
from lowtide.market.clearing.rounds import keeps
from lowtide.values.instants import SECOND_US
from lowtide.values.money import usd

_NANO_A_MICRO = 1_000


def call_auction(seen: ReviewedCall) -> dict[str, Any]:
    """A call auction in the shape of any other, with how it was cleared."""
    record = orjson.loads(seen.line.line)
    pools = _pools(seen, record)
    kept = keeps(seen.instance, seen.cleared, record["contended"])
    placed = int(seen.cleared.units[kept].sum())
    tasks = int(seen.instance.count.sum())
    return recorded(seen.row, seen.line, record) | {
        "task_id": None,
        "constraints": None,
        "outcome": seen.row.outcome,
        "reason": None,
        "winner": None,
        "clearing_price_usd": None,
        "deferral": None,
        "thin": False,
        "explanation": _explanation(seen.cleared, tasks, placed),
        "bids": [],
        "cleared": {
            "how": seen.cleared.how,
            "solver": seen.cleared.solver,
            "tasks": tasks,
            "placed": placed,
            "welfare_usd": usd(seen.cleared.welfare_micro * _NANO_A_MICRO),
            "gap_usd": usd(seen.cleared.gap_micro * _NANO_A_MICRO),
            "contended": record["contended"],
            "slot_s": record["slot_us"] / SECOND_US,
            "pools": pools,
        },
        "replay": replay(seen),
    }


def replay(seen: ReviewedCall) -> dict[str, Any]:
    """Whether everything that the record says of the round holds; else what does not."""
    if not seen.differences:
        return {"identical": True}
    told = [{"field": name, "stored": stored, "now": now} for name, stored, now in seen.differences]
    return {"identical": False, "differences": told}


def offer_scarcity(last: Priced | None, offer_id: str, now: int) -> dict[str, Any]:
    """What places at an offer are worth in the slots that are not over."""
    if last is None:
        return {"offer_id": offer_id, "auction_id": None, "as_of": None, "slots": []}
    first = last.as_of - last.as_of % last.slot_us
    slots = [
        {"from": when(start), "until": when(end), "shadow_price_usd": usd(price)}
        for number, (start, price) in enumerate(zip(last.starts, last.prices.get(offer_id, ()), strict=False))
        if (end := first + (number + 1) * last.slot_us) > now
    ]
    return {
        "offer_id": offer_id,
        "auction_id": last.auction_id,
        "as_of": when(last.as_of),
        "slots": slots,
    }


def _pools(seen: ReviewedCall, record: dict[str, Any]) -> list[dict[str, Any]]:
    worth, slots = priced(seen.line.line), record["slots"]
    kept = keeps(seen.instance, seen.cleared, record["contended"])
    placed = dict[int, int]()
    for pool, units in zip(seen.cleared.pool[kept].tolist(), seen.cleared.units[kept].tolist(), strict=True):
        placed[pool] = placed.get(pool, 0) + units
    contended = set(record["contended"])
    named = {offer: seen.book.rows[seen.book.row_of[offer]].offer for offer in record["offers"]}
    found = []
    for row, offer in enumerate(record["offers"]):
        for slot, price in enumerate(worth.prices[offer]):
            pool = row * slots + slot
            if offer in contended and (price or pool in placed):
                found.append(
                    (
                        slot,
                        {
                            "offer_id": offer,
                            "provider": named[offer].provider,
                            "model": named[offer].model,
                            "lane": named[offer].lane,
                            "slot_from": when(worth.starts[slot]),
                            "capacity": record["capacity"][pool],
                            "placed": placed.get(pool, 0),
                            "shadow_price_usd": usd(price),
                        },
                    )
                )
    return [shown for _, shown in sorted(found, key=lambda one: one[0])]


def _explanation(cleared: Cleared, tasks: int, placed: int) -> str:
    proof = {
        "optimal": "proven to be the most that any assignment can be worth",
        "within_gap": f"at most ${usd(cleared.gap_micro * _NANO_A_MICRO)} below the optimum",
        "timed_out": (
            f"the solver ran out of time, but at most ${usd(cleared.gap_micro * _NANO_A_MICRO)} below the optimum"
        ),
    }[cleared.how]
    return (
        f"{tasks} held tasks wanted more than offers can carry; {placed} got a place there. Together their surplus is "
        f"${usd(cleared.welfare_micro * _NANO_A_MICRO)}: {proof}. The others go by their own rule."
    )
