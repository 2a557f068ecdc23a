"""Payment rules, one file each. A rule gives the price of the winner; see MARKET.md section 6."""

from collections.abc import Callable

from lowtide.market.rules.payment import Payment, Standing
from lowtide.market.rules.posted import posted
from lowtide.market.rules.second_score import second_score

RULES: dict[str, Callable[[Standing], Payment]] = {
    "posted": posted,
    "second_score": second_score,
    "uniform": posted,
}
"""`uniform` is of call auctions: the highest accepted ask. One task alone accepts one ask, so there it is posted."""
