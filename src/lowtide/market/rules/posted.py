"""`posted`: the winner is paid its own price. What public providers charge, and the pay-as-bid control in tests."""

from lowtide.market.rules.payment import Payment, Standing


def posted(standing: Standing) -> Payment:
    """The winner's own bid, nano-USD."""
    return Payment(standing.bid_nano)
