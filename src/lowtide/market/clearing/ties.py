"""Which of several equally good assignments: the same on every machine, known to nobody before the key is."""

import hashlib
from dataclasses import dataclass

import numpy as np

from lowtide.market.clearing.arrays import Ints, Ties
from lowtide.market.clearing.flow import GUARD_BITS
from lowtide.market.clearing.instance import Instance
from lowtide.values.errors import BadValue

HASH_BITS = 16
_SLACK_BITS = 8
_SLOTS_A_HASH = 16


@dataclass(frozen=True, slots=True)
class TieBreak:
    """Tie-breaks by arc: 16 bits of SHA-256 each, and how far a weight is shifted to make room for them."""

    bits: Ties
    weight_shift: int
    tie_shift: int

    def scaled(self, instance: Instance, group: Ints, pool: Ints) -> Ints:
        """What the solver maximises: first the weight, then running those with the least slack soonest, then the hash.

        Ties never cost surplus: all of them together weigh less than 1 µUSD.
        """
        weight = instance.weight[group, pool].astype(np.int64) << self.weight_shift
        if self.weight_shift == 0:
            return weight
        tie = (_soonest(instance, group, pool) << HASH_BITS) + self.bits[group, pool]
        return weight + (tie >> self.tie_shift)


def tie_break(instance: Instance, key: bytes) -> TieBreak:
    """The tie-break of a round.

    Raises BadValue `auction_too_large` where even bare weights would leave the solver's 64 bits.
    """
    heaviest = int(instance.weight.max(initial=0)).bit_length()
    nodes = (instance.group_count + instance.pool_count + 2).bit_length()
    units = int(min(instance.count.sum(), instance.capacity.sum())).bit_length()
    if heaviest + nodes > GUARD_BITS:
        raise BadValue(
            "auction_too_large",
            f"Weights of {heaviest} bits over {nodes} bits of nodes overflow the solver. Shard the round by model.",
        )
    room = GUARD_BITS - heaviest - nodes - units
    tie_bits = max(0, min(HASH_BITS + _SLACK_BITS, room))
    shift = units + tie_bits if tie_bits else 0
    return TieBreak(_hashes(instance, key), shift, HASH_BITS + _SLACK_BITS - tie_bits)


def _hashes(instance: Instance, key: bytes) -> Ties:
    """16 bits by (group, pool): SHA-256(key ‖ group ‖ offer ‖ n) gives those of slots 16n to 16n + 15."""
    blocks = -(-instance.slot_count // _SLOTS_A_HASH)
    tails = [
        b"\x00%s\x00%d" % (offer.encode(), block) for offer in instance.offers for block in range(blocks)
    ]
    bits = np.empty((instance.group_count, instance.pool_count), np.uint16)
    for group, name in enumerate(instance.group_keys):
        head = hashlib.sha256(key + b"\x00" + name.encode())
        digests = bytearray()
        for tail in tails:
            one = head.copy()
            one.update(tail)
            digests += one.digest()
        drawn = np.frombuffer(digests, ">u2").reshape(len(instance.offers), blocks * _SLOTS_A_HASH)
        bits[group] = drawn[:, : instance.slot_count].reshape(-1)
    return bits


def _soonest(instance: Instance, group: Ints, pool: Ints) -> Ints:
    """0 to 255, the more the sooner the slot, and steeper the less slack the group has: where no price helps."""
    slots = instance.slot_count
    urgency = slots + 1 - np.minimum(instance.slots[group], slots)
    earliness = slots - 1 - pool % slots
    most = max(slots * (slots - 1), 1)
    soonest: Ints = urgency * earliness * (2**_SLACK_BITS - 1) // most
    return soonest
