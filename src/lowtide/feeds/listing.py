"""What a feed says: listings with their prices, and the entries that it could not take."""

from dataclasses import dataclass, field

from lowtide.market.offer import Capacity, Claim, LatencyClaim
from lowtide.market.quote import Quote

DEFAULT_CONTEXT_WINDOW = 128_000


@dataclass(frozen=True, slots=True)
class Listing:
    """What a feed says of one model on one lane of a provider; None where it does not say.

    Quotes tile the time that the feed speaks for; their sequence is given when they are stored. A model without an
    input or output price has quotes whose prices are None there (`unpriced`); no quotes at all means that the feed
    names the model and no price. `raw` is the SHA-256 (hexadecimal) of the entry as the feed had it, in canonical JSON.
    """

    provider: str
    model: str
    upstream_model: str
    lane: str
    quotes: tuple[Quote, ...] = ()
    variant: str = ""
    context_window: int = DEFAULT_CONTEXT_WINDOW
    max_output_tokens: int | None = None
    modalities: tuple[str, ...] = ("text",)
    features: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    zero_retention: bool = False
    capacity: Capacity = field(default_factory=Capacity)
    latency: LatencyClaim = field(default_factory=LatencyClaim)
    claims: tuple[Claim, ...] = ()
    raw: str | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        """What makes an offer of one provider unique: upstream model, lane and variant."""
        return (self.upstream_model, self.lane, self.variant)

    @property
    def priced(self) -> bool:
        """Whether any quote has both token prices."""
        return any(quote.prices.known for quote in self.quotes)


@dataclass(frozen=True, slots=True)
class Refusal:
    """An entry that a feed has and the market does not take: its name, where it stands (RFC 6901), and why.

    `code` is stable (`price_unit`, `negative_price`, `not_a_number`, `missing_field`, `overlapping_quotes`, …).
    """

    entry: str
    pointer: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Reading:
    """What the market understood of a document: listings, refused entries, and how many entries it had.

    `skipped` are entries that are no business of the market's (other providers, image models), by reason with counts;
    `ignored` are fields of our own JSON and CSV that nobody reads, at most 20.
    """

    format: str
    listings: tuple[Listing, ...]
    refused: tuple[Refusal, ...] = ()
    entries: int = 0
    skipped: tuple[tuple[str, int], ...] = ()
    ignored: tuple[str, ...] = ()

    @property
    def models(self) -> int:
        """How many different models it lists, by the market's names."""
        return len({listing.model for listing in self.listings})
