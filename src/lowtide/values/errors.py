"""Every error a user may meet: a stable code, an HTTP status, and a sentence that says what to do."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field at fault: RFC 6901 pointer into the body, code and message."""

    pointer: str
    code: str
    message: str


class MarketError(Exception):
    """Root of the errors that become RFC 9457 problems. `code` and `status` are the contract; the text is for people."""

    code = "market_error"
    status = 400

    def __init__(
        self,
        detail: str,
        *,
        code: str | None = None,
        errors: tuple[FieldError, ...] = (),
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = errors
        self.retry_after_s = retry_after_s
        if code is not None:
            self.code = code


class BadValue(MarketError, ValueError):
    """A value that cannot be read. Doors turn it into a field error with the pointer of the field."""

    status = 422

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail, code=code)


class BadMoney(BadValue):
    """An amount that is no exact decimal of USD."""


class BadInstant(BadValue):
    """A time without a zone, or no time at all."""


class InvalidRequest(MarketError):
    """A body, query or path that does not fit the contract; `errors` names each field."""

    code = "invalid_request"
    status = 422


class Unauthorized(MarketError):
    """No key, or one that the market does not know."""

    code = "unauthorized"
    status = 401


class Forbidden(MarketError):
    """The key's role does not allow this."""

    code = "forbidden"
    status = 403


class NotFound(MarketError):
    """Nothing stands under that id, or the key may not see it."""

    code = "not_found"
    status = 404


class Conflict(MarketError):
    """The request meets a state that does not admit it."""

    code = "conflict"
    status = 409


class StaleQuote(Conflict):
    """A pushed sequence that is not newer than the newest."""

    code = "stale_quote"

    def __init__(self, offer_id: str, sequence: int, newest: int) -> None:
        super().__init__(
            f"Sequence {sequence} of {offer_id} is not newer than {newest}, which the market already has. "
            f"Send the price again with a sequence above {newest}."
        )


class OverlappingQuotes(MarketError):
    """Two intervals of one push cover the same instant."""

    code = "overlapping_quotes"
    status = 422


class DeadlinePassed(MarketError):
    """A deadline that lies behind the market's clock."""

    code = "deadline_passed"
    status = 422


class InsufficientFunds(MarketError):
    """The account cannot carry the worst case of the task."""

    code = "insufficient_funds"
    status = 402


class BodyTooLarge(MarketError):
    """A body beyond the limit; refused before it is read."""

    code = "body_too_large"
    status = 413


class Unavailable(MarketError):
    """The market cannot answer now; a later call may succeed."""

    code = "unavailable"
    status = 503


class IllegalTransition(MarketError):
    """A change of state that RECORD.md's table does not have."""

    code = "illegal_transition"
    status = 409


class SetupError(MarketError):
    """The configuration or database cannot be used; the text says how to mend it."""

    code = "setup"
    status = 500
