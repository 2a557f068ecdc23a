"""What a payment rule is given, and what it gives."""

from typing import NamedTuple


class Standing(NamedTuple):
    """The winner's bid and worst case, its score, the best rival's score and the reserve; nano-USD, None where absent."""

    bid_nano: int
    worst_nano: int
    score_nano: int
    rival_score_nano: int | None
    reserve_nano: int | None
    max_cost_nano: int | None


class Payment(NamedTuple):
    """The price, nano-USD; `thin` where nothing but the bid itself could set it."""

    price_nano: int
    thin: bool = False
