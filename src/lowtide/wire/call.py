"""A call of a provider, its answer, and its failure sorted: what every wire takes and gives."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from lowtide.market.usage import Usage


@dataclass(frozen=True, slots=True)
class Call:
    """One request in the OpenAI chat shape. Times are seconds of real time.

    `timeout_s` bounds the whole call, `connect_s` the connection, `idle_s` the first byte and each pause after it.
    `preemptible`: it was bought on a lane that may take it back.
    """

    base_url: str
    api_key: str | None
    upstream_model: str
    body: Mapping[str, Any]
    max_output_tokens: int
    timeout_s: float
    idempotency_key: str
    connect_s: float = 5.0
    idle_s: float = 60.0
    service_tier: str | None = None
    max_tokens_field: str = "max_completion_tokens"
    preemptible: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the assistant's message, why it ended, tokens as reported (None: not told), times in ms.

    `first_token_ms` is None where the wire did not stream.
    """

    message: Mapping[str, Any]
    finish_reason: str | None
    usage: Usage | None
    model: str | None
    service_tier: str | None
    request_id: str | None
    latency_ms: int
    first_token_ms: int | None = None


class FailureKind(StrEnum):
    """Why a call brought no answer."""

    CALLER_ERROR = "caller_error"
    CONTEXT_TOO_LONG = "context_too_long"
    REFUSED_CREDENTIAL = "refused_credential"
    MODEL_MISSING = "model_missing"
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    SERVER_ERROR = "server_error"
    CONNECT_FAILED = "connect_failed"
    CONNECT_TIMEOUT = "connect_timeout"
    ANSWER_TIMEOUT = "answer_timeout"
    CUT = "cut"
    MALFORMED = "malformed"
    EMPTY = "empty"
    PREEMPTED = "preempted"


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed call. `provider_fault` counts against its health; `retry_elsewhere` lets the next bid run.

    `codes` are the code and type that the provider gave; `usage` what it counted for a call that it took back.
    """

    kind: FailureKind
    detail: str
    status: int | None
    retry_after_s: float | None
    possibly_billed: bool
    provider_fault: bool
    retry_elsewhere: bool
    latency_ms: int
    codes: tuple[str, ...] = ()
    usage: Usage | None = None


class CallFailed(Exception):
    """Raised by a wire; carries the sorted failure."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.kind}: {failure.detail}")
        self.failure = failure


class Wire(Protocol):
    """One provider's wire."""

    async def complete(self, call: Call) -> Answer:
        """Do the call. Raises CallFailed; a cancel closes the upstream connection."""
