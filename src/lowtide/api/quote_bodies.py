"""Bodies of quotes: prices over an interval, curves, and quotes of many offers at once."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

from lowtide.api.bodies import CapacityBody
from lowtide.api.fields import Body, Instant, RequestPrice, Sequence, UnitPrice
from lowtide.market.quote import Prices, PriceStep
from lowtide.values.instants import rfc3339
from lowtide.values.money import MAX_TOKENS

_WRONG_UNITS = ("per_token", "per_1k", "per_ktok", "per_1k_tokens", "per_thousand")
_DAY: JsonDict = {"input_per_mtok": "0.25", "output_per_mtok": "1.25"}
_NIGHT: JsonDict = {"input_per_mtok": "0.10", "output_per_mtok": "0.50"}


def quote_examples(schema: dict[str, Any]) -> None:
    """Put examples into a quote's schema that work as pasted: their hours lie ahead of the moment it is made."""
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    night, morning = rfc3339(hour + timedelta(hours=24)), rfc3339(hour + timedelta(hours=32))
    schema["examples"] = [
        {"prices": _DAY},
        {
            "curve": [
                {"prices": _DAY, "valid_until": night},
                {"prices": _NIGHT, "valid_from": night, "valid_until": morning},
            ]
        },
    ]


class StepBody(Body):
    """Prices of a whole call whose input exceeds so many tokens; what is left out stays."""

    above_tokens: Annotated[
        int, Field(ge=1, le=MAX_TOKENS, description="input tokens beyond which it counts")
    ]
    input_per_mtok: UnitPrice | None = None
    output_per_mtok: UnitPrice | None = None
    cached_input_per_mtok: UnitPrice | None = None
    cache_write_per_mtok: UnitPrice | None = None


class PricesBody(Body):
    """Unit prices in USD per million tokens, and per request. A missing price is unknown, never free."""

    input_per_mtok: UnitPrice | None = None
    output_per_mtok: UnitPrice | None = None
    cached_input_per_mtok: UnitPrice | None = None
    cache_write_per_mtok: UnitPrice | None = None
    per_request: RequestPrice = 0
    steps: Annotated[list[StepBody], Field(description="long-context prices")] = []
    currency: Annotated[str, Field(description="only USD")] = "USD"

    @model_validator(mode="before")
    @classmethod
    def right_unit(cls, values: Any) -> Any:
        """Refuse fields that price another number of tokens, and other currencies, by name."""
        for name in values if isinstance(values, dict) else ():
            if isinstance(name, str) and name.endswith(_WRONG_UNITS):
                raise PydanticCustomError(
                    "price_unit",
                    "{name} is in the wrong unit. Send input_per_mtok and output_per_mtok: "
                    "USD per million tokens",
                    {"name": name},
                )
        currency = values.get("currency", "USD") if isinstance(values, dict) else "USD"
        if currency != "USD":
            raise PydanticCustomError(
                "unknown_currency",
                "Prices in {currency} are not taken. Send USD",
                {"name": "currency", "currency": str(currency)[:20]},
            )
        return values

    def prices(self) -> Prices:
        """The core's unit prices, nano-USD."""
        steps = sorted(self.steps, key=lambda step: step.above_tokens)
        return Prices(
            self.input_per_mtok,
            self.output_per_mtok,
            self.cached_input_per_mtok,
            self.cache_write_per_mtok,
            self.per_request,
            tuple(
                PriceStep(
                    s.above_tokens,
                    s.input_per_mtok,
                    s.output_per_mtok,
                    s.cached_input_per_mtok,
                    s.cache_write_per_mtok,
                )
                for s in steps
            ),
        )


class Slot(Body):
    """Prices over an interval; no end means until replaced, no start means from now."""

    prices: PricesBody
    valid_from: Annotated[Instant | None, Field(description="RFC 3339, UTC; left out: now")] = None
    valid_until: Annotated[
        Instant | None, Field(description="RFC 3339, UTC; left out: until a newer quote covers the instant")
    ] = None
    capacity: Annotated[
        CapacityBody | None,
        Field(description="what is sold at this price, where that is less than the offer has"),
    ] = None
    firm_until: Annotated[
        Instant | None,
        Field(
            description="until then it can neither be cancelled nor replaced by a dearer one; at most 48 hours ahead"
        ),
    ] = None

    @model_validator(mode="after")
    def ends_after_it_begins(self) -> "Slot":
        """Refuse an interval without length."""
        if (
            self.valid_from is not None
            and self.valid_until is not None
            and self.valid_until <= self.valid_from
        ):
            raise PydanticCustomError(
                "ends_before_it_begins", "valid_until must lie after valid_from", {"name": "valid_until"}
            )
        return self


class NewQuote(Slot):
    """A quote, or `curve`: several slots under one sequence."""

    model_config = ConfigDict(json_schema_extra=quote_examples)

    prices: PricesBody | None = None  # type: ignore[assignment]
    sequence: Annotated[
        Sequence | None,
        Field(description="above that of the offer's last quote; left out: the next is given"),
    ] = None
    curve: (
        Annotated[
            list[Slot],
            Field(
                min_length=1,
                max_length=10_000,
                description="several slots, in place of one; none may overlap",
            ),
        ]
        | None
    ) = None

    @model_validator(mode="after")
    def one_or_a_curve(self) -> "NewQuote":
        """Either prices or a curve."""
        if self.prices is None and self.curve is None:
            raise PydanticCustomError(
                "missing_field", "Send prices, or a curve of several slots", {"name": "prices"}
            )
        if self.prices is not None and self.curve is not None:
            raise PydanticCustomError(
                "conflicting_fields", "Send either prices or a curve", {"name": "curve"}
            )
        return self

    def slots(self) -> list[Slot]:
        """The quote's slots: itself, where it is no curve. What is given beside a curve holds for all its slots."""
        if self.curve is None:
            return [self]
        return [
            slot.model_copy(
                update={
                    "capacity": slot.capacity or self.capacity,
                    "firm_until": slot.firm_until or self.firm_until,
                }
            )
            for slot in self.curve
        ]


class BulkQuote(NewQuote):
    """A quote of a named offer."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"offer_id": "off_…", "prices": _DAY}]})

    offer_id: Annotated[str, Field(description="from POST /v1/offers")]


class BulkQuotes(Body):
    """Quotes of many offers, taken all or nothing."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"quotes": [{"offer_id": "off_…", "prices": _DAY}]}]}
    )

    quotes: Annotated[list[BulkQuote], Field(min_length=1, max_length=10_000)]


class ConfirmedQuote(Body):
    """What an operator says of a quarantined quote: that its price is meant."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"quarantined": False}]})

    quarantined: Annotated[Literal[False], Field(description="only `false`: it counts from now on")]
