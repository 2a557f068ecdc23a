"""A task as the core sees it: what it needs, what bounds it, what it is worth. No prompt, no label, no user."""

from dataclasses import dataclass, field
from typing import Any

DEFAULT_OUTPUT_TOKENS = 4_096
"""The output limit of a task without its own, unless the offer's is smaller."""
UNKNOWN_OUTPUT_TOKENS = 512
"""The most output that is expected while a task type's usual output is unknown."""
HALF_PPM = 500_000


@dataclass(frozen=True, slots=True)
class Needs:
    """What an offer must be able to do."""

    modalities: tuple[str, ...] = ("text",)
    features: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Constraints:
    """Hard limits; None does not constrain. ppm, ms, nano-USD, µs.

    `z_ppm` is the normal quantile of `confidence_ppm`, kept so that no platform's library decides anew.
    """

    min_quality_ppm: int | None = None
    confidence_ppm: int = HALF_PPM
    z_ppm: int = 0
    max_latency_ms: int | None = None
    max_cost_nano: int | None = None
    complete_by: int | None = None
    regions: tuple[str, ...] | None = None
    zero_retention: bool = False


@dataclass(frozen=True, slots=True)
class Lists:
    """Who may serve: market model names and provider names; None admits all. Task's and key's lists are one here."""

    models: tuple[str, ...] | None = None
    providers: tuple[str, ...] | None = None
    exclude_providers: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether nothing is restricted."""
        return self.models is None and self.providers is None and not self.exclude_providers


@dataclass(frozen=True, slots=True)
class Objective:
    """The requester's surplus: value of an accepted answer and cost of a second, nano-USD; a fallback offer's id."""

    value_nano: int | None = None
    per_second_nano: int = 0
    fallback: str | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """An order for one piece of work. `usual_output` is its type's usual output tokens, None until 20 are known."""

    id: str
    type: str = "general"
    domain: str = "general"
    input_bytes: int = 0
    usual_output: int | None = None
    max_output: int | None = None
    n: int = 1
    needs: Needs = field(default_factory=Needs)
    constraints: Constraints = field(default_factory=Constraints)
    objective: Objective = field(default_factory=Objective)
    lists: Lists = field(default_factory=Lists)


def task_values(task: Task) -> dict[str, Any]:
    """The JSON form of a task in records: integers and strings, defaults left out."""
    limits, objective, lists = task.constraints, task.objective, task.lists
    values: dict[str, Any] = {
        "type": task.type,
        "domain": task.domain,
        "bytes": task.input_bytes,
        "usual": task.usual_output,
        "m": task.max_output,
        "n": task.n,
        "needs": {"modalities": list(task.needs.modalities), "features": list(task.needs.features)},
        "constraints": _given(
            {
                "min_quality": limits.min_quality_ppm,
                "max_latency_ms": limits.max_latency_ms,
                "max_cost": limits.max_cost_nano,
                "complete_by": limits.complete_by,
                "regions": None if limits.regions is None else list(limits.regions),
                "zero_retention": 1 if limits.zero_retention else None,
            }
        ),
        "objective": _given(
            {
                "value": objective.value_nano,
                "per_second": objective.per_second_nano or None,
                "fallback": objective.fallback,
            }
        ),
        "lists": _given(
            {
                "models": None if lists.models is None else list(lists.models),
                "providers": None if lists.providers is None else list(lists.providers),
                "exclude_providers": list(lists.exclude_providers) or None,
            }
        ),
    }
    if limits.confidence_ppm != HALF_PPM:
        values["constraints"] |= {"confidence": limits.confidence_ppm, "z": limits.z_ppm}
    return values


def task_from_values(task_id: str, values: dict[str, Any]) -> Task:
    """The task of a record's JSON form."""
    limits, objective, lists = values["constraints"], values["objective"], values["lists"]
    return Task(
        id=task_id,
        type=values["type"],
        domain=values["domain"],
        input_bytes=values["bytes"],
        usual_output=values["usual"],
        max_output=values["m"],
        n=values["n"],
        needs=Needs(tuple(values["needs"]["modalities"]), tuple(values["needs"]["features"])),
        constraints=Constraints(
            min_quality_ppm=limits.get("min_quality"),
            confidence_ppm=limits.get("confidence", HALF_PPM),
            z_ppm=limits.get("z", 0),
            max_latency_ms=limits.get("max_latency_ms"),
            max_cost_nano=limits.get("max_cost"),
            complete_by=limits.get("complete_by"),
            regions=_tuple(limits.get("regions")),
            zero_retention=bool(limits.get("zero_retention")),
        ),
        objective=Objective(
            objective.get("value"), objective.get("per_second", 0), objective.get("fallback")
        ),
        lists=Lists(
            _tuple(lists.get("models")),
            _tuple(lists.get("providers")),
            tuple(lists.get("exclude_providers", ())),
        ),
    )


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _tuple(values: list[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)
