"""What a seller's documentation says of a lane that the catalog does not price: so much of the standard price."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from lowtide.market.quote import Quote
from lowtide.market.tariff import scaled


@dataclass(frozen=True, slots=True)
class LaneRule:
    """A lane's price in ppm of the standard one, for the models (patterns of the catalog's ids) that have the lane."""

    lane: str
    multiplier_ppm: int
    models: tuple[str, ...] = ("*",)


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether a name fits any of the patterns (`*` stands for anything; the case counts)."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def quotes_by_rule(
    rules: Sequence[LaneRule], lane: str, model_id: str, standard: Iterable[Quote]
) -> tuple[Quote, ...]:
    """The lane's quotes by the first rule that fits, from the standard ones; none where no rule fits."""
    rule = next((one for one in rules if one.lane == lane and matches(model_id, one.models)), None)
    if rule is None:
        return ()
    return tuple(replace(quote, prices=scaled(quote.prices, rule.multiplier_ppm)) for quote in standard)
