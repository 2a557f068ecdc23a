"""Errors become RFC 9457 problems here, and nowhere else."""

import re
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from lowtide.api.feed_bodies import TAG
from lowtide.api.fields import PRINTABLE, SOURCE
from lowtide.api.pages import CURSOR
from lowtide.values.errors import DeadlinePassed, FieldError, InvalidRequest, MarketError

MEDIA_TYPE = "application/problem+json"
_CODES = {
    "missing": "missing_field",
    "extra_forbidden": "unknown_field",
    "json_invalid": "invalid_json",
    "finite_number": "not_a_number",
}
_TITLES = {
    400: "Bad request",
    401: "Unauthorized",
    402: "Payment required",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    413: "Body too large",
    422: "Invalid request",
    415: "Unsupported media type",
    500: "Internal error",
    503: "Unavailable",
}
_HTTP_CODES = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    415: "unsupported_media_type",
}
_SAID = {
    "less_than_equal": "Too large. Send at most {le}.",
    "less_than": "Too large. Send less than {lt}.",
    "greater_than_equal": "Too small. Send at least {ge}.",
    "greater_than": "Too small. Send more than {gt}.",
    "literal_error": "Not one of the values taken. Send {expected}.",
    "enum": "Not one of the values taken. Send {expected}.",
    "string_type": "Send a string.",
    "int_type": "Send a whole number, without quotes.",
    "int_from_float": "Send a whole number.",
    "int_parsing": "Send a whole number.",
    "int_parsing_size": "Too large. Send a smaller whole number.",
    "float_type": "Send a number, without quotes.",
    "float_parsing": "Send a number.",
    "bool_type": "Send true or false, without quotes.",
    "bool_parsing": "Send true or false.",
    "list_type": "Send a list: [ … ].",
    "dict_type": "Send an object: {{ … }}.",
    "model_type": "Send an object: {{ … }}.",
    "model_attributes_type": "Send an object: {{ … }}.",
    "string_too_short": "Too short. Send at least {min_length} character(s).",
    "string_too_long": "Too long. Send at most {max_length} characters.",
    "too_short": "Send at least {min_length} of them; {actual_length} came.",
    "too_long": "Send at most {max_length} of them; {actual_length} came.",
}
"""What to do, by the kinds of error that pydantic words for programmers."""
_FORMS = {
    PRINTABLE: "Send letters, digits and punctuation without spaces, at most 128.",
    SOURCE: "Send `push`, or the id of a feed.",
    CURSOR: "Not a place in the list. Send the `next` of the page before, or leave it out for the first page.",
}
"""What to send, by the patterns that texts must match."""
_WRITTEN = {"True": "true", "False": "false", "None": "null"}
MAX_MESSAGE, MAX_DETAIL = 300, 600
_WORD = re.compile(r"(?<!['\w])(True|False|None)(?!['\w])")
_FRACTION = re.compile(r"(?<=:\d\d)\.\d+Z")
_log = structlog.get_logger()


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    errors: tuple[FieldError, ...] = (),
    retry_after_s: int | None = None,
) -> JSONResponse:
    """A problem as a response."""
    body: dict[str, Any] = {
        "type": f"urn:lowtide:problem:{code}",
        "title": _TITLES.get(status, "Error"),
        "status": status,
        "code": code,
        "detail": detail if len(detail) <= MAX_DETAIL else f"{detail[:MAX_DETAIL]}…",
    }
    if errors:
        body["errors"] = [{"pointer": e.pointer, "code": e.code, "message": e.message} for e in errors]
    headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(body, status, headers=headers, media_type=MEDIA_TYPE)


def of_error(fault: MarketError) -> JSONResponse:
    """The problem of one of our errors."""
    detail, errors = fault.detail, fault.errors
    if isinstance(fault, DeadlinePassed):
        detail = _to_the_second(detail)
        errors = tuple(FieldError(e.pointer, e.code, _to_the_second(e.message)) for e in errors)
    return problem(fault.status, fault.code, detail, errors=errors, retry_after_s=fault.retry_after_s)


def _to_the_second(text: str) -> str:
    """A sentence with its instants cut to whole seconds."""
    return _FRACTION.sub("Z", text)


def invalid(faults: list[dict[str, Any]]) -> InvalidRequest:
    """One error of all that a validation found, each field with its pointer and code."""
    errors = tuple(
        FieldError(_place(fault), _CODES.get(fault["type"], _own(fault["type"])), _message(fault))
        for fault in faults
    )
    codes = {error.code for error in errors}
    code = codes.pop() if len(codes) == 1 else "invalid_request"
    where = errors[0].pointer or "The body"
    more = f" ({len(errors) - 1} more in `errors`)" if len(errors) > 1 else ""
    found = InvalidRequest(
        f"{where}: {errors[0].message}{more}",
        code=code if code != "invalid_value" else "invalid_request",
        errors=errors,
    )
    if code == "invalid_json":
        found.status = 400
    return found


def _own(kind: str) -> str:
    """Codes of ours pass; pydantic's many types are one code for clients."""
    ours = (
        "price",
        "negative",
        "not_a",
        "too_precise",
        "naive",
        "bad_time",
        "deadline",
        "out_of_range",
        "not_available",
        "overlapping",
        "unknown",
        "conflicting",
        "too_large",
        "ends_before",
        "bad_",
        "credential",
        "missing_field",
    )
    return kind if kind.startswith(ours) else "invalid_value"


def _message(fault: dict[str, Any]) -> str:
    kind, text = fault["type"], str(fault["msg"])
    if kind == "json_invalid":
        return f"The body is not JSON: {fault['ctx']['error']}, at character {fault['loc'][-1]}."
    if kind == "missing":
        return "This field is required."
    if kind == "extra_forbidden":
        return f"The market knows no field {fault['loc'][-1]!r} here. Remove it or mend its name; /docs lists the fields."
    if kind in _SAID:
        return _SAID[kind].format_map({name: _short(value) for name, value in fault.get("ctx", {}).items()})
    if kind == "string_pattern_mismatch" and fault["ctx"]["pattern"] in _FORMS:
        return _FORMS[fault["ctx"]["pattern"]]
    text = text[:MAX_MESSAGE]
    return text if text.endswith(".") else text + "."


def _short(value: Any) -> str:
    """A limit as people write it: 2 rather than 2.0, and true rather than Python's True."""
    if isinstance(value, str):
        return _WORD.sub(lambda word: _WRITTEN[word[0]], value)
    return (
        f"{value:g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
    )


def _place(fault: dict[str, Any]) -> str:
    """The field's pointer; checks that look at a whole object name the field at fault as `name` or `path`."""
    if fault["type"] == "json_invalid":
        return ""
    context = fault.get("ctx", {})
    name, path = context.get("name"), context.get("path", ())
    return _pointer((*fault["loc"], name) if isinstance(name, str) else (*fault["loc"], *path))


def _pointer(where: tuple[Any, ...]) -> str:
    source, *path = where
    path = [step for step in path if not str(step).startswith(TAG)]
    steps = "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)
    if source == "body" or not path:
        return steps
    return f"?{path[0]}" if source == "query" else f"{source}:{path[0]}"


def install(app: FastAPI) -> None:
    """Make every error of the application a problem."""

    @app.exception_handler(MarketError)
    async def market_error(_request: Request, fault: MarketError) -> JSONResponse:
        return of_error(fault)

    @app.exception_handler(RequestValidationError)
    async def validation(_request: Request, fault: RequestValidationError) -> JSONResponse:
        return of_error(invalid(list(fault.errors())))

    @app.exception_handler(HTTPException)
    async def http(_request: Request, fault: HTTPException) -> JSONResponse:
        # FastAPI wraps what is raised while the body is read.
        if isinstance(fault.__cause__, MarketError):
            return of_error(fault.__cause__)
        code = _HTTP_CODES.get(fault.status_code, "http_error")
        answer = problem(fault.status_code, code, f"{fault.detail}. See /docs.")
        answer.headers.update(fault.headers or {})
        return answer

    @app.exception_handler(Exception)
    async def internal(request: Request, fault: Exception) -> JSONResponse:
        _log.error("request_failed", path=request.url.path, fault=repr(fault), exc_info=fault)
        return problem(
            500,
            "internal",
            "The market failed on this request; nothing was written by it. The log has the cause.",
        )
