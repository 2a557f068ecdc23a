"""Bodies of feeds: the four ways in which a provider's prices come by themselves."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from lowtide.api.bodies import Feature, Lane, http_address
from lowtide.api.fields import Body, Name
from lowtide.api.quote_bodies import PricesBody
from lowtide.feeds.formats import FORMATS
from lowtide.market.book_lines import prices_values
from lowtide.market.tariff_table import tariff_from_table
from lowtide.values.errors import BadValue
from lowtide.values.instants import DAY_US, SECOND_US

KINDS = ("poll", "tariff", "catalog", "live")
TAG = "kind="
"""How the name of a kind begins where a validation error says which body it looked at."""
DAY_S = DAY_US // SECOND_US
_Patterns = Annotated[list[Annotated[str, Field(min_length=1, max_length=128)]], Field(max_length=100)]
_Address = Annotated[str, Field(max_length=2_048), AfterValidator(http_address)]


def _known_format(name: Any) -> Any:
    if isinstance(name, str) and name not in FORMATS:
        raise PydanticCustomError(
            "unknown_format",
            "{shown} is no format of price lists. Use one of {known}, or leave it out",
            {"shown": repr(name[:40]), "known": ", ".join(FORMATS)},
        )
    return name


def _table(value: Any) -> Any:
    if isinstance(value, dict):
        try:
            tariff_from_table(value)
        except BadValue as fault:
            raise PydanticCustomError(fault.code, "{text}", {"text": fault.detail}) from None
    return value


class _Picks(Body):
    """Which models of a list are taken."""

    include: Annotated[
        _Patterns,
        Field(
            min_length=1,
            description="patterns of models to take, by the list's name or the market's, such as gpt-*",
        ),
    ] = ["*"]
    exclude: Annotated[_Patterns, Field(description="patterns of models to leave out, likewise")] = []
    features: Annotated[
        list[Feature], Field(description="what requests may use, besides what the list says")
    ] = []


class PollFeed(_Picks):
    """A price list at a URL, fetched again and again."""

    provider_id: Annotated[str, Field(description="whose prices these are")]
    kind: Literal["poll"]
    url: Annotated[_Address, Field(description="of the price list")]
    format: Annotated[
        str | None,
        BeforeValidator(_known_format),
        Field(description=f"{', '.join(FORMATS)}; left out: it is recognised", examples=["openrouter"]),
    ] = None
    interval_s: Annotated[int, Field(ge=5, le=DAY_S, description="seconds between two readings")] = 300
    valid_for_s: Annotated[
        int,
        Field(
            ge=30,
            le=7 * DAY_S,
            description="seconds that a price counts after it was last read; at least twice `interval_s`",
        ),
    ] = DAY_S
    lanes: Annotated[
        list[Lane] | None, Field(min_length=1, description="lanes to take; left out: all that are priced")
    ] = None
    select: Annotated[
        Name | None,
        Field(
            description="in LiteLLM's map: the `litellm_provider` to take, or a pattern, `*` for all; left out: its name"
        ),
    ] = None
    prices: Annotated[
        PricesBody | None, Field(description="for a list of models without prices: what each costs")
    ] = None
    authorize: Annotated[
        bool,
        Field(
            description="send the provider's key along; only where the URL has the provider's own scheme, host and port"
        ),
    ] = False

    @model_validator(mode="after")
    def outlives_the_interval(self) -> "PollFeed":
        """Refuse prices that would lapse before they are read again."""
        if self.valid_for_s < 2 * self.interval_s:
            raise PydanticCustomError(
                "out_of_range",
                "Prices would lapse between two readings. Send at least {least}, twice interval_s",
                {"least": 2 * self.interval_s, "name": "valid_for_s"},
            )
        return self

    def spec(self) -> dict[str, Any]:
        """What is stored of it."""
        prices = None if self.prices is None else prices_values(self.prices.prices())
        return self.model_dump(exclude={"provider_id", "kind", "prices"}) | {"prices": prices}


class TariffOffer(Body):
    """An offer and the prices that a tariff multiplies."""

    offer_id: Annotated[str, Field(max_length=128, description="an offer of the provider")]
    prices: Annotated[PricesBody, Field(description="what it costs where no window says otherwise")]


class TariffFeed(Body):
    """A time-of-use schedule on the seller's clock."""

    provider_id: Annotated[str, Field(description="whose prices these are")]
    kind: Literal["tariff"]
    tariff: Annotated[
        dict[str, Any],
        BeforeValidator(_table),
        Field(
            description="as the files of config/tariffs: zone, windows or dated schedules, holidays",
            examples=[
                {
                    "zone": "Europe/Berlin",
                    "windows": [{"start": "22:00", "end": "06:00", "multiplier": "0.5"}],
                }
            ],
        ),
    ]
    offers: Annotated[list[TariffOffer], Field(min_length=1, max_length=1_000)]

    @model_validator(mode="after")
    def each_once(self) -> "TariffFeed":
        """Refuse an offer that is named twice."""
        seen: set[str] = set()
        for place, one in enumerate(self.offers):
            if one.offer_id in seen:
                raise PydanticCustomError(
                    "conflicting_fields",
                    "Offer {offer_id} is named twice. Name it once",
                    {"offer_id": one.offer_id, "path": ("offers", str(place), "offer_id")},
                )
            seen.add(one.offer_id)
        return self

    def spec(self) -> dict[str, Any]:
        """What is stored of it."""
        return {
            "tariff": self.tariff,
            "offers": [
                {"offer_id": one.offer_id, "prices": prices_values(one.prices.prices())}
                for one in self.offers
            ],
        }


class CatalogFeed(_Picks):
    """The list prices of a provider that the catalog knows."""

    provider_id: Annotated[str, Field(description="whose prices these are")]
    kind: Literal["catalog"]
    catalog: Annotated[Name, Field(description="the provider's id in genai-prices", examples=["openai"])]
    lanes: Annotated[
        list[Literal["standard", "batch", "flex", "priority"]],
        Field(min_length=1, description="lanes to take, where the catalog prices them"),
    ] = ["standard"]

    def spec(self) -> dict[str, Any]:
        """What is stored of it."""
        return self.model_dump(exclude={"provider_id", "kind"})


class LiveFeed(Body):
    """A bidder that is asked for each task. Its secret is told once, in the answer."""

    provider_id: Annotated[str, Field(description="whose offers it bids for")]
    kind: Literal["live"]
    bid_url: Annotated[_Address, Field(description="to which bid requests are POSTed, signed")]
    timeout_ms: Annotated[
        int, Field(ge=20, le=10_000, description="the auction closes after so long, bid or no bid")
    ] = 80
    include: Annotated[
        _Patterns, Field(min_length=1, description="patterns of the models or offers it bids for")
    ] = ["*"]
    notices_url: Annotated[
        _Address | None, Field(description="to which notices are POSTed; left out: none are sent")
    ] = None
    notify: Annotated[
        list[Literal["won", "lost", "settled"]], Field(description="which notices are sent")
    ] = ["won", "settled"]

    def spec(self) -> dict[str, Any]:
        """What is stored of it."""
        return self.model_dump(exclude={"provider_id", "kind"})


def _kind(value: Any) -> str | None:
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    return f"{TAG}{kind}" if kind in KINDS else None


NewFeed = Annotated[
    Annotated[PollFeed, Tag(f"{TAG}poll")]
    | Annotated[TariffFeed, Tag(f"{TAG}tariff")]
    | Annotated[CatalogFeed, Tag(f"{TAG}catalog")]
    | Annotated[LiveFeed, Tag(f"{TAG}live")],
    Discriminator(
        _kind,
        custom_error_type="unknown_kind",
        custom_error_message=f"Send one of the kinds {', '.join(KINDS)}",
        custom_error_context={"name": "kind"},
    ),
]
"""A feed as it is registered: one of four kinds."""
