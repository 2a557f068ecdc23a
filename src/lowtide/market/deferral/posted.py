"""Prices that are posted ahead are known exactly: what is known comes first, a forecast only beyond it."""

import numpy as np

from lowtide.market.deferral.series import Floats


def with_posted(prices: Floats, values: Floats, ahead: int) -> Floats:
    """Continuation values where, at every slot, the prices of the next `ahead` slots are posted.

    With at most that many slots left: the least price ahead. With more: the least of it and of the value at the last
    posted slot, which by then would be the newest known price. Prices are those of all slots; columns are slots left.
    """
    slots, most = values.shape
    if ahead <= 0:
        return values
    found = values.copy()
    least = np.full(slots, np.inf)
    for left in range(1, most):
        if left <= ahead:
            least[:-left] = np.minimum(least[:-left], prices[left:])
            found[:, left] = least
        else:
            beyond = np.full(slots, np.inf)
            beyond[:-ahead] = values[ahead:, left - ahead]
            found[:, left] = np.minimum(least, beyond)
    return found
