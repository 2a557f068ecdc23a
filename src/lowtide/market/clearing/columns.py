"""Which arcs the solver is shown: a few of each offer to begin with, then those that prices favour."""

import numpy as np

from lowtide.market.clearing.arrays import Bools, Ints
from lowtide.market.clearing.certify import Arcs
from lowtide.market.clearing.instance import MAX_WEIGHT_MICRO, Instance
from lowtide.market.clearing.ties import TieBreak

ALL_ARCS = 50_000
"""Up to so many arcs the solver simply sees them all."""
_BEST_SLOTS = 4
_PRICED_A_GROUP = 60
_CHUNK = 256


def first_arcs(instance: Instance, ties: TieBreak) -> Bools:
    """All arcs of a small instance; else by group and offer the 4 best slots of w·(1 − u/2).

    The dither u spreads groups over slots: without it everyone keeps the same few cheap pools.
    """
    exists = instance.weight > 0
    if int(np.count_nonzero(exists)) <= ALL_ARCS or instance.slot_count <= _BEST_SLOTS:
        return exists
    shown = np.zeros_like(exists)
    shape = (-1, len(instance.offers), instance.slot_count)
    for start in range(0, instance.group_count, _CHUNK):
        rows = slice(start, start + _CHUNK)
        dither = 1 - ties.bits[rows].astype(np.float32) / np.float32(2**17)
        liked = (instance.weight[rows] * dither).reshape(shape)
        best = np.argpartition(-liked, _BEST_SLOTS - 1, axis=2)[:, :, :_BEST_SLOTS]
        np.put_along_axis(shown[rows].reshape(shape), best, True, axis=2)
    return shown & exists


def priced_arcs(instance: Instance, price: Ints, served: Arcs) -> Bools:
    """By group the 60 arcs that leave it most at the prices (µUSD by pool), and those that the assignment uses.

    Measured: with these the optimum of 2,000 groups × 2,400 pools is proven in the third solve.
    """
    shown = np.zeros(instance.weight.shape, np.bool_)
    most = min(_PRICED_A_GROUP, instance.pool_count)
    narrow = price.astype(np.int32)
    for start in range(0, instance.group_count, _CHUNK):
        rows = slice(start, start + _CHUNK)
        margin = instance.weight[rows] - narrow
        margin[instance.weight[rows] == 0] = -MAX_WEIGHT_MICRO
        best = np.argpartition(-margin, most - 1, axis=1)[:, :most]
        np.put_along_axis(shown[rows], best, True, axis=1)
    shown &= instance.weight > 0
    used = served.units > 0
    shown[served.group[used], served.pool[used]] = True
    return shown
