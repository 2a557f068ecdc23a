"""Failures sorted, as a table: whose fault it is, whether another provider is asked, whether it may have been billed."""

import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple

import httpx

from lowtide.wire.call import Failure, FailureKind

K = FailureKind


class Sorting(NamedTuple):
    """How a kind of failure is treated."""

    provider_fault: bool
    retry_elsewhere: bool
    possibly_billed: bool


SORTING: dict[FailureKind, Sorting] = {
    K.CALLER_ERROR: Sorting(provider_fault=False, retry_elsewhere=False, possibly_billed=False),
    K.CONTEXT_TOO_LONG: Sorting(provider_fault=False, retry_elsewhere=True, possibly_billed=False),
    K.REFUSED_CREDENTIAL: Sorting(provider_fault=True, retry_elsewhere=True, possibly_billed=False),
    K.MODEL_MISSING: Sorting(provider_fault=True, retry_elsewhere=True, possibly_billed=False),
    K.RATE_LIMITED: Sorting(provider_fault=True, retry_elsewhere=True, possibly_billed=False),
    K.OVERLOADED: Sorting(provider_fault=True, retry_elsewhere=True, possibly_billed=False),
    K.SERVER_ERROR: Sorting(provider_fault=True, retry_elsewhere=True, possibly_billed=False),
    K.CONNECT_FAILED: Sorting(provider_fault=True, retry_elsewhere=True, possibly_billed=False),
    K.CONNECT_TIMEOUT: Sorting(provider_fault=True, retry_elsewhere=True, possibly_billed=False),
    K.ANSWER_TIMEOUT: Sorting(provider_fault=True, retry_elsewhere=True, possibly_billed=True),
    K.CUT: Sorting(provider_fault=True, retry_elsewhere=True, possibly_billed=True),
    K.MALFORMED: Sorting(provider_fault=True, retry_elsewhere=True, possibly_billed=True),
    K.EMPTY: Sorting(provider_fault=True, retry_elsewhere=True, possibly_billed=True),
    K.PREEMPTED: Sorting(provider_fault=False, retry_elsewhere=True, possibly_billed=False),
}

_STATUS: dict[int, FailureKind] = {
    401: K.REFUSED_CREDENTIAL,
    402: K.REFUSED_CREDENTIAL,
    403: K.REFUSED_CREDENTIAL,
    404: K.MODEL_MISSING,
    405: K.MODEL_MISSING,
    408: K.ANSWER_TIMEOUT,
    409: K.OVERLOADED,  # a lock that was not got in time; the stock clients retry it
    413: K.CONTEXT_TOO_LONG,
    429: K.RATE_LIMITED,
    498: K.OVERLOADED,
    503: K.OVERLOADED,
    504: K.ANSWER_TIMEOUT,
    524: K.ANSWER_TIMEOUT,
    529: K.OVERLOADED,
}
_CODES: dict[str, FailureKind] = {
    "context_length_exceeded": K.CONTEXT_TOO_LONG,
    "string_above_max_length": K.CONTEXT_TOO_LONG,
    "model_not_found": K.MODEL_MISSING,
    "insufficient_quota": K.REFUSED_CREDENTIAL,
}
# Servers without the code say it in words only.
_TOO_LONG = ("maximum context length", "context length exceeded", "context window", "prompt is too long")
_TRANSPORT: tuple[tuple[type[Exception], FailureKind], ...] = (
    (httpx.ConnectTimeout, K.CONNECT_TIMEOUT),
    (httpx.PoolTimeout, K.CONNECT_TIMEOUT),
    (httpx.ConnectError, K.CONNECT_FAILED),
    (httpx.UnsupportedProtocol, K.CONNECT_FAILED),
    (httpx.TimeoutException, K.ANSWER_TIMEOUT),
    (httpx.DecodingError, K.MALFORMED),
    (httpx.TransportError, K.CUT),
)


def kind_of_status(status: int, error_code: str | None, message: str = "") -> FailureKind:
    """The kind of an HTTP error status, with the wire's own error code or words where they tell more."""
    if error_code in _CODES:
        return _CODES[error_code]
    if status in (400, 422) and any(words in message.lower() for words in _TOO_LONG):
        return K.CONTEXT_TOO_LONG
    if status in _STATUS:
        return _STATUS[status]
    if status < 400:  # a redirect: the base URL is not the API's
        return K.MODEL_MISSING
    return K.SERVER_ERROR if status >= 500 else K.CALLER_ERROR


def kind_of_exception(fault: Exception) -> FailureKind:
    """The kind of a transport's exception."""
    return next((kind for kinds, kind in _TRANSPORT if isinstance(fault, kinds)), K.CUT)


def failure(
    kind: FailureKind,
    detail: str,
    latency_ms: int,
    *,
    status: int | None = None,
    retry_after_s: float | None = None,
) -> Failure:
    """A failure with what the table says of its kind."""
    how = SORTING[kind]
    return Failure(
        kind,
        detail[:500],
        status,
        retry_after_s,
        how.possibly_billed,
        how.provider_fault,
        how.retry_elsewhere,
        latency_ms,
    )


def retry_after(headers: httpx.Headers, now: datetime | None = None) -> float | None:
    """Seconds that the provider asks to wait: `retry-after-ms`, else Retry-After in seconds or as an HTTP date."""
    millis, plain = _number(headers.get("retry-after-ms")), headers.get("retry-after")
    if millis is not None:
        return millis / 1_000
    if plain is None:
        return None
    if (seconds := _number(plain)) is not None:
        return seconds
    try:
        moment = parsedate_to_datetime(plain)
    except ValueError:
        return None
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return max(0.0, (aware - (now or datetime.now(UTC))).total_seconds())


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return max(0.0, number) if math.isfinite(number) else None
