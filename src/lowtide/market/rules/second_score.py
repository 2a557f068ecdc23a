"""`second_score`: Vickrey on scores. Che (1993), second-score procurement: truth is a dominant strategy."""

from lowtide.market.rules.payment import Payment, Standing


def second_score(standing: Standing) -> Payment:
    """Price that leaves the requester exactly the surplus that the best rival, or the reserve, offered.

    Nano-USD, between the winner's bid and the ceiling ⌊bid·max_cost ÷ worst⌋, so that no usage captures more than
    `max_cost`. With neither rival nor reserve the ceiling; without a budget either, its own bid, `thin`.
    """
    bid, against = (
        standing.bid_nano,
        [s for s in (standing.rival_score_nano, standing.reserve_nano) if s is not None],
    )
    ceiling = None
    if standing.max_cost_nano is not None:
        worst = standing.worst_nano
        ceiling = standing.max_cost_nano if worst == 0 else bid * standing.max_cost_nano // worst
    if not against:
        return Payment(bid, thin=True) if ceiling is None else Payment(ceiling)
    price = bid + standing.score_nano - max(against)
    return Payment(price if ceiling is None else min(ceiling, price))
