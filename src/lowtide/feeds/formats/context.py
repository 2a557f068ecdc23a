"""What a reader of price documents is told besides the document."""

from dataclasses import dataclass
from fnmatch import fnmatchcase

from lowtide.feeds.model_names import ModelNames
from lowtide.market.quote import Prices


@dataclass(frozen=True, slots=True)
class Context:
    """Whose prices a document has, over which time (µs UTC) they are quoted, and which of them are wanted.

    `include` and `exclude` are patterns of model names, the document's or the market's. `select` is the
    `litellm_provider` of a cost map, None for the provider's own name. `lanes` None takes every lane that the document
    has. `prices` stand in where a list of models has none. `features` are added to what the document says;
    `max_output_tokens` stands in.
    """

    provider: str
    now_us: int
    valid_until_us: int
    names: ModelNames
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    select: str | None = None
    lanes: tuple[str, ...] | None = None
    prices: Prices | None = None
    features: tuple[str, ...] = ()
    max_output_tokens: int = 4_096

    def wants(self, *names: str) -> bool:
        """Whether a model is wanted that goes by any of these names, or by what the market makes of them."""
        names += tuple(self.names.market_name(name) for name in names)
        return _any(names, self.include) and not _any(names, self.exclude)

    def wants_lane(self, lane: str) -> bool:
        """Whether the lane is wanted."""
        return self.lanes is None or lane in self.lanes


def _any(names: tuple[str, ...], patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for name in names for pattern in patterns)
