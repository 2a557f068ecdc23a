"""Which asks of the book somebody wants to see."""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Annotated

from fastapi import Query

from lowtide.api.bodies import Feature, Lane
from lowtide.api.fields import Ratio, UnitPrice, ppm
from lowtide.market.book import Row, quality_in
from lowtide.market.quote import effective_quote


@dataclass(frozen=True, slots=True)
class BookFilter:
    """What an ask must be. Prices are nano-USD per million tokens, quality parts per million; None: anything."""

    model: str | None = None
    provider: str | None = None
    lane: str | None = None
    features: frozenset[str] = frozenset()
    region: str | None = None
    zero_retention: bool = False
    min_quality: int | None = None
    max_input: int | None = None
    max_output: int | None = None
    priced: bool = False

    def concerns(self, row: Row) -> bool:
        """Whether a row is of the model, provider and lane: what it is by name, which does not change."""
        offer = row.offer
        if self.model is not None and not (
            fnmatchcase(offer.model, self.model) or fnmatchcase(offer.upstream_model, self.model)
        ):
            return False
        if self.provider is not None and not fnmatchcase(offer.provider, self.provider):
            return False
        return self.lane is None or offer.lane == self.lane

    def shows(self, row: Row, at: int) -> bool:
        """Whether a row that it concerns is listed and is all else at an instant (µs)."""
        offer = row.offer
        if offer.withdrawn or not self.features <= set(offer.features):
            return False
        if self.region is not None and self.region not in offer.regions:
            return False
        if self.zero_retention and not offer.zero_retention:
            return False
        if self.min_quality is not None and quality_in(row.conditions, "general")[0] < self.min_quality:
            return False
        return self._priced(row, at)

    def _priced(self, row: Row, at: int) -> bool:
        if not self.priced and self.max_input is None and self.max_output is None:
            return True
        quote = effective_quote(row.quotes, at)
        if quote is None or quote.quarantined or quote.prices.input is None or quote.prices.output is None:
            return False
        if quote.capacity is not None and quote.capacity.none:
            return False
        return (self.max_input is None or quote.prices.input <= self.max_input) and (
            self.max_output is None or quote.prices.output <= self.max_output
        )


def book_filter(
    model: Annotated[
        str | None,
        Query(
            max_length=128,
            description="a model as the market or its provider names it; * and ? stand for anything",
        ),
    ] = None,
    provider: Annotated[
        str | None, Query(max_length=128, description="a provider's name; * and ? stand for anything")
    ] = None,
    lane: Lane | None = None,
    feature: Annotated[
        list[Feature] | None, Query(description="what it must have; give it again for several")
    ] = None,
    region: Annotated[str | None, Query(max_length=128, description="where it must serve")] = None,
    zero_retention: Annotated[bool, Query(description="true: only offers that keep no data")] = False,
    min_quality: Annotated[Ratio | None, Query(description="least verified quality, in general")] = None,
    max_input_per_mtok: Annotated[UnitPrice | None, Query(description="dearest input price now, USD")] = None,
    max_output_per_mtok: Annotated[
        UnitPrice | None, Query(description="dearest output price now, USD")
    ] = None,
    priced: Annotated[bool, Query(description="true: only offers with a price that can win now")] = False,
) -> BookFilter:
    """The filter of a query."""
    return BookFilter(
        model,
        provider,
        lane,
        frozenset(feature or ()),
        region,
        zero_retention,
        None if min_quality is None else ppm(min_quality),
        max_input_per_mtok,
        max_output_per_mtok,
        priced,
    )
