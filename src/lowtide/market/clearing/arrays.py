"""The array types of a call auction."""

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Weights = NDArray[np.int32]
Bools = NDArray[np.bool_]
Ties = NDArray[np.uint16]


def frozen(array: Ints) -> Ints:
    """The same values as int64, read-only."""
    fixed = np.ascontiguousarray(array, dtype=np.int64)
    if fixed is array:
        fixed = array.copy()
    fixed.flags.writeable = False
    return fixed


def run_starts(column: Ints) -> Ints:
    """Where each run of equal values of a sorted column starts."""
    if not len(column):
        return np.empty(0, np.int64)
    return np.flatnonzero(np.concatenate(([True], column[1:] != column[:-1]))).astype(np.int64)
