"""From what a round cleared to places: which task starts when, at which offer."""

from collections import Counter
from dataclasses import dataclass

from lowtide.exchange.round_input import RoundInput
from lowtide.market.clearing.award import Award, awards
from lowtide.market.clearing.outcome import Cleared
from lowtide.market.clearing.payment import POSTED
from lowtide.market.clearing.rounds import kept_awards, settling, steadied
from lowtide.values.canonical import sha256


@dataclass(frozen=True, slots=True)
class Place:
    """A task's place: the award, when it starts (µs), and what is paid for an own price of so much, where that is more."""

    award: Award
    release_at: int
    paid: tuple[int, int] | None
    own_nano: int


def places_of(found: RoundInput, cleared: Cleared, key: bytes, rule: str, slot_us: int) -> list[Place]:
    """The places at contended offers, soonest first; starts are spread over a slot as the offer can carry them.

    Who was given what can be had at any time is left to its own rule.
    """
    kept = kept_awards(found.instance, cleared, found.rooms)
    capacity = found.instance.capacity.reshape(len(found.instance.offers), -1)
    row_of = {offer: row for row, offer in enumerate(found.instance.offers)}
    taken, places = Counter[tuple[str, int]](), list[Place]()
    for award, posted in _drawn(found, cleared, key, rule, slot_us):
        if (award.task_id, award.offer, award.slot) not in kept:
            continue
        room = found.rooms[award.offer]
        before = taken[award.offer, award.slot]
        taken[award.offer, award.slot] += 1
        begin, width = found.starts[award.slot], slot_us - found.starts[award.slot] % slot_us
        spread = before * width // max(1, int(capacity[row_of[award.offer], award.slot]))
        at = begin if award.slot == 0 and before < room.free else begin + spread
        more = award.price_nano > posted.price_nano > 0
        ratio = (award.price_nano, posted.price_nano) if more else None
        latest = found.wanting[award.task_id].latest_start
        places.append(Place(award, min(at, latest), ratio, posted.price_nano))
    return places


def _drawn(
    found: RoundInput, cleared: Cleared, key: bytes, rule: str, slot_us: int
) -> list[tuple[Award, Award]]:
    """Every award at what is paid and at its offer's own price; identical tasks keep the places that they have."""
    instance = found.instance
    paid = awards(instance, cleared, key, rule, settling(instance, found.book))
    own = awards(instance, cleared, key, POSTED)
    now = {
        task_id: (one.place[0], one.place[1] - one.place[1] % slot_us)
        for task_id, one in found.wanting.items()
        if one.place is not None
    }
    begins = [start - start % slot_us for start in found.starts]
    takes = steadied(instance, [(award.task_id, award.offer, award.slot) for award in own], begins, now)
    pairs = [
        (one._replace(task_id=name), posted._replace(task_id=name))
        for one, posted, name in zip(paid, own, takes, strict=True)
    ]
    # Within a slot the order is the same in each round, so that a place that stays needs no writing.
    return sorted(
        pairs,
        key=lambda pair: (pair[0].slot, found.wanting[pair[0].task_id].latest_start, _order(pair[0])),
    )


def _order(award: Award) -> bytes:
    return sha256(award.task_id.encode())
