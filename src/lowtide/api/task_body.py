"""The body of a task, and the core's task that it means."""

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import orjson
from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from lowtide.api.auth import Principal
from lowtide.api.constraints import ConstraintsBody, ObjectiveBody
from lowtide.api.fields import Body, Name, Usd, ppm
from lowtide.api.messages import Message
from lowtide.exchange.order import Claim, Order
from lowtide.market.reputation import z_ppm
from lowtide.market.task import Constraints, Lists, Needs, Objective, Task
from lowtide.values.money import MAX_TOKENS

_PART_MODALITY = {
    "image_url": "image",
    "input_image": "image",
    "image": "image",
    "input_audio": "audio",
    "audio": "audio",
    "file": "file",
    "input_file": "file",
    "video_url": "video",
}
_OURS = ("max_output_tokens", "max_tokens", "max_completion_tokens", "model", "stream", "stream_options", "n")
_TOKENS = Annotated[int, Field(ge=1, le=MAX_TOKENS)]
_LATER = "not available in this version, and refused"
_EXAMPLE: dict[str, Any] = {
    "task_type": "support.reply",
    "input": {"messages": [{"role": "user", "content": "Where is my parcel?"}], "max_output_tokens": 300},
    "constraints": {"min_quality": 0.8, "max_cost_usd": "0.10", "complete_within_s": 3600},
    "wait_s": 10,
}


class TaskInput(Body):
    """The OpenAI chat shape: messages and whatever else the provider is to get."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)

    messages: Annotated[
        list[Message],
        Field(
            min_length=1,
            max_length=4_096,
            description="each with `role` and `content`; whatever else a message holds passes through",
        ),
    ]
    max_output_tokens: Annotated[
        _TOKENS | None,
        Field(
            description="tokens of the answer at most; left out: 4,096, or what the offer allows if that is less"
        ),
    ] = None
    max_tokens: Annotated[_TOKENS | None, Field(description="another name of max_output_tokens")] = None
    max_completion_tokens: Annotated[
        _TOKENS | None, Field(description="another name of max_output_tokens")
    ] = None
    model: Annotated[
        Name | None, Field(description="the only model that may serve; `auto` or left out: any")
    ] = None
    n: Annotated[int, Field(ge=1, le=128, description="answers to produce; each is paid")] = 1

    @model_validator(mode="after")
    def countable(self) -> "TaskInput":
        """Answers × limit stay within what a task may produce."""
        if self.n * (self.limit or 1) > MAX_TOKENS:
            raise PydanticCustomError(
                "too_large", "n times the output limit is above 2,097,152 tokens", {"name": "n"}
            )
        return self

    @property
    def limit(self) -> int | None:
        """The output limit, whichever way it was named."""
        return self.max_output_tokens or self.max_completion_tokens or self.max_tokens

    def sent(self) -> dict[str, Any]:
        """What goes upstream, apart from model and limit."""
        values = self.model_dump(exclude_unset=True)
        return {k: v for k, v in values.items() if k not in _OURS} | ({"n": self.n} if self.n > 1 else {})


class TaskBody(Body):
    """An order for one piece of work."""

    model_config = ConfigDict(
        extra="forbid", strict=True, allow_inf_nan=False, json_schema_extra={"examples": [_EXAMPLE]}
    )

    task_type: Annotated[
        Name, Field(description="kind of work, yours to name; usual answer lengths are learnt by it")
    ] = "general"
    job: Annotated[
        Name | None,
        Field(
            description="the job of many calls that this is one of: tasks of your account that share it are one job"
        ),
    ] = None
    input: Annotated[TaskInput, Field(description="what the model gets")]
    constraints: Annotated[ConstraintsBody, Field(description="left out: none")] = ConstraintsBody()
    objective: Annotated[
        ObjectiveBody, Field(description="left out: the cheapest that meets the constraints wins")
    ] = ObjectiveBody()
    strategy: Annotated[
        Literal["failover", "hedge", "escalate"],
        Field(description=f"`failover`: the next bid is called when one fails. The others: {_LATER}"),
    ] = "failover"
    priority: Annotated[
        Literal["normal", "low", "high"], Field(description=f"`normal`. The others: {_LATER}")
    ] = "normal"
    max_attempts: Annotated[
        Annotated[int, Field(ge=1, le=20)] | None,
        Field(
            description="most calls of providers, those that a spot lane took back not counted; "
            "left out: the market's setting"
        ),
    ] = None
    hedge_after_ms: Annotated[Annotated[int, Field(ge=1)] | None, Field(description=_LATER)] = None
    max_extra_usd: Annotated[Usd | None, Field(description=_LATER)] = None
    explore: Annotated[
        bool, Field(description=f"true lets a little known offer be tried to learn its quality: {_LATER}")
    ] = False
    checks: Annotated[list[dict[str, Any]], Field(description=f"checks of the answer: {_LATER}")] = []
    share_input: Annotated[
        bool,
        Field(
            description="true lets live bidders see `input` before they bid; otherwise only the provider that runs it does"
        ),
    ] = False
    labels: Annotated[
        dict[str, Annotated[str, Field(max_length=256)]],
        Field(max_length=32, description="yours; GET /v1/tasks filters by them"),
    ] = {}
    wait_s: Annotated[
        Annotated[float, Field(ge=0, le=600)] | None,
        Field(description="seconds that the answer waits for a final state; left out: it does not wait"),
    ] = None
    webhook_url: Annotated[str | None, Field(description=_LATER)] = None

    @model_validator(mode="after")
    def only_what_is_done(self) -> "TaskBody":
        """Refuse by name what this version does not do yet, rather than take it and not do it."""
        asked = {
            "strategy": self.strategy != "failover",
            "priority": self.priority != "normal",
            "explore": self.explore,
            "hedge_after_ms": self.hedge_after_ms is not None,
            "max_extra_usd": self.max_extra_usd is not None,
            "checks": bool(self.checks),
            "webhook_url": self.webhook_url is not None,
        }
        for name, given in asked.items():
            if given:
                raise PydanticCustomError(
                    "not_available_yet",
                    "This version does not do that yet. Leave it out",
                    {"name": name},
                )
        return self

    def order(
        self, principal: Principal, now: int, default_attempts: int, claim: Claim | None = None
    ) -> Order:
        """The order of a principal at an instant (µs)."""
        return Order(
            self.task(principal, now),
            principal.account_id,
            principal.key_id,
            self.input.sent(),
            self.posted(),
            self.labels,
            self.max_attempts or default_attempts,
            claim,
            self.job,
        )

    def posted(self) -> dict[str, Any]:
        """What is shown again of the body: everything but the input."""
        return self.model_dump(exclude={"input", "labels", "wait_s"}, exclude_unset=True)

    def task(self, principal: Principal, now: int) -> Task:
        """The core's task, without an id."""
        limits, objective = self.constraints, self.objective
        deadline = limits.complete_by
        if limits.complete_within_s is not None:
            deadline = now + math.floor(limits.complete_within_s * 1_000_000)
        confidence = ppm(limits.confidence)
        models = limits.models
        if models is None and self.input.model not in (None, "auto"):
            models = [str(self.input.model)]
        regions = _both(limits.regions, principal.allow_regions)
        return Task(
            id="",
            type=self.task_type,
            domain=limits.domain or "general",
            input_bytes=_bytes(self.input),
            max_output=self.input.limit,
            n=self.input.n,
            needs=_needs(self.input, limits.modalities or []),
            constraints=Constraints(
                None if limits.min_quality is None else ppm(limits.min_quality),
                confidence,
                z_ppm(confidence),
                limits.max_latency_ms,
                limits.max_cost_usd,
                deadline,
                regions,
                limits.zero_retention,
            ),
            objective=Objective(objective.value_usd, objective.per_second_usd, objective.fallback),
            lists=Lists(
                _both(models, principal.allow_models),
                _both(limits.providers, principal.allow_providers),
                tuple(sorted(set(limits.exclude_providers))),
            ),
        )


def _both(asked: list[str] | None, allowed: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """What both the task and its key admit; None admits all."""
    if asked is None:
        return None if allowed is None else tuple(sorted(allowed))
    return tuple(sorted(set(asked) if allowed is None else set(asked) & set(allowed)))


def _needs(given: TaskInput, stated: Sequence[str]) -> Needs:
    modalities = {"text", *stated}
    for message in given.messages:
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            if isinstance(part, dict) and (kind := _PART_MODALITY.get(str(part.get("type")))) is not None:
                modalities.add(kind)
    extra = given.model_extra or {}
    features = []
    if extra.get("tools"):
        features.append("tools")
    wanted = extra.get("response_format")
    if isinstance(wanted, dict) and wanted.get("type") in ("json_schema", "json_object"):
        features.append(str(wanted["type"]))
    if extra.get("logprobs"):
        features.append("logprobs")
    return Needs(tuple(sorted(modalities)), tuple(features))


def _bytes(given: TaskInput) -> int:
    """UTF-8 bytes of the text that a provider will count: messages' text, and tools and schemas as JSON."""
    total = 0
    for message in given.messages:
        content = message.get("content")
        if isinstance(content, str):
            total += len(content.encode())
        elif isinstance(content, list):
            total += sum(
                len(str(part.get("text", "")).encode()) for part in content if isinstance(part, dict)
            )
        if message.get("tool_calls"):
            total += len(orjson.dumps(message["tool_calls"]))
    extra = given.model_extra or {}
    return total + sum(
        len(orjson.dumps(extra[name])) for name in ("tools", "response_format") if extra.get(name)
    )
