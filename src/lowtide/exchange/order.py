"""An order as a door hands it in: the task's values, what is sent to a provider, and who asks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lowtide.market.task import Task


@dataclass(frozen=True, slots=True)
class Claim:
    """An idempotency key to be claimed in the commit that makes the thing."""

    principal: str
    key: str
    request_hash: str


@dataclass(frozen=True, slots=True)
class Order:
    """One task to be placed. `task` has no id yet and no usual output: placing gives both.

    `posted` is the body as given (constraints, objective, strategy), `input` the chat request, `wait_until` µs,
    `job` the account's job of many calls that it is part of.
    """

    task: Task
    account_id: str
    key_id: str
    input: Mapping[str, Any]
    posted: Mapping[str, Any]
    labels: Mapping[str, str]
    max_attempts: int
    claim: Claim | None = None
    job: str | None = None
