"""What a task's body says about its limits and its worth."""

from typing import Annotated

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from lowtide.api.bodies import Modality
from lowtide.api.fields import Body, Instant, Name, Usd

_Names = Annotated[list[Name], Field(min_length=1)]


class ConstraintsBody(Body):
    """Hard limits. A missing one does not constrain."""

    min_quality: Annotated[
        Annotated[float, Field(ge=0, le=1)] | None,
        Field(description="least probability, 0 to 1, that the answer is accepted, in the task's domain"),
    ] = None
    confidence: Annotated[
        float,
        Field(
            ge=0.001,
            le=0.999,
            description="how sure the market has to be that an offer reaches min_quality: 0.5 takes its mean, "
            "0.95 wants much evidence",
        ),
    ] = 0.5
    max_latency_ms: Annotated[
        Annotated[int, Field(ge=1, le=86_400_000)] | None,
        Field(description="most that the 95th percentile of the whole answer may take, ms"),
    ] = None
    max_cost_usd: Annotated[
        Usd | None, Field(description="most that the worst case (the longest answer) may cost, USD")
    ] = None
    complete_by: Annotated[
        Instant | None,
        Field(description="deadline, RFC 3339, UTC. Until then the task may wait for a better price"),
    ] = None
    complete_within_s: Annotated[
        Annotated[float, Field(gt=0, le=365 * 86_400)] | None,
        Field(description="the deadline as seconds from now, in place of complete_by"),
    ] = None
    domain: Annotated[
        Name | None, Field(description="field of work in which quality counts; left out: `general`")
    ] = None
    modalities: Annotated[
        list[Modality] | None,
        Field(description="what the model must take, besides what the messages show"),
    ] = None
    models: Annotated[_Names | None, Field(description="models that may serve; left out: any")] = None
    providers: Annotated[_Names | None, Field(description="names; left out: any")] = None
    exclude_providers: Annotated[list[Name], Field(description="names of providers that may not serve")] = []
    regions: Annotated[
        _Names | None, Field(description="it is served from one of these; left out: from anywhere")
    ] = None
    zero_retention: Annotated[bool, Field(description="only offers that keep nothing of the request")] = False

    @model_validator(mode="after")
    def one_deadline(self) -> "ConstraintsBody":
        """Only one way to say the deadline."""
        if self.complete_by is not None and self.complete_within_s is not None:
            raise PydanticCustomError(
                "conflicting_fields",
                "Send either complete_by or complete_within_s",
                {"name": "complete_within_s"},
            )
        return self


class ObjectiveBody(Body):
    """What an accepted answer is worth, what a second costs, and an offer to fall back on."""

    value_usd: Annotated[
        Usd | None,
        Field(description="worth of an accepted answer, USD, weighed against price; left out: cheapest wins"),
    ] = None
    per_second_usd: Annotated[
        Usd, Field(description="what each second until the answer costs the requester, USD")
    ] = 0
    fallback: Annotated[
        str | None,
        Field(description="offer that would be called without the market; no bid that leaves less wins"),
    ] = None
