"""The contract as OpenAPI: each route with the errors that it can give, all of them problems."""

import time
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, Field

from lowtide.api.problems import MEDIA_TYPE

FRESH_S = 3_600.0
"""The document is made anew after so long: its examples name hours that lie ahead."""


class FieldProblem(BaseModel):
    """One field at fault."""

    pointer: str = Field(
        description="RFC 6901 pointer into the body; `?name` for a query parameter",
        examples=["/prices/per_request"],
    )
    code: str
    message: str = Field(description="what is wrong and what to send")


class Problem(BaseModel):
    """RFC 9457 problem details."""

    type: str = Field(description="urn:lowtide:problem: and the code")
    title: str
    status: int = Field(description="the HTTP status again")
    code: str = Field(description="stable; programs decide by it", examples=["unknown_offer"])
    detail: str = Field(description="what is wrong and what to do, for people")
    errors: list[FieldProblem] | None = Field(
        default=None, description="each field at fault, where there is one"
    )


ANSWERS = {
    400: "Not JSON",
    401: "No valid key",
    402: "Insufficient funds",
    403: "The key's role does not allow it",
    404: "Nothing under that id",
    409: "Conflict with what stands",
    413: "Body too large",
    415: "Not sent as JSON",
    422: "A field is wrong",
    503: "Try again later",
}


def told(model: type[BaseModel], status: int = 200) -> dict[int | str, dict[str, Any]]:
    """A route's good answer, described and no more: routes render it themselves."""
    return {status: {"model": model, "description": (model.__doc__ or "").strip()}}


def responses() -> dict[int | str, dict[str, Any]]:
    """What every route is declared with; `describe` leaves each only what it can give."""
    return {status: {"model": Problem, "description": text} for status, text in ANSWERS.items()}


def describe(app: FastAPI) -> None:
    """Let the application's document tell the errors of each route as problems."""
    plain, made_at = app.openapi, 0.0

    def openapi() -> dict[str, Any]:
        nonlocal made_at
        if app.openapi_schema is None or time.monotonic() - made_at > FRESH_S:
            app.openapi_schema, made_at = None, time.monotonic()
            document = plain()
            for path, methods in document["paths"].items():
                for method, operation in methods.items():
                    _own_errors(path, method, operation)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _own_errors(path: str, method: str, operation: dict[str, Any]) -> None:
    has_body = "requestBody" in operation
    possible = {
        400: has_body,
        401: "security" in operation,
        402: path == "/v1/tasks" and method == "post",
        403: "security" in operation,
        404: "{" in path or has_body,
        409: method != "get",
        413: has_body,
        415: has_body,
    }
    for status in ANSWERS:
        if not possible.get(status, True):
            operation["responses"].pop(str(status), None)
    for status, answer in operation["responses"].items():
        shown = answer.get("content", {}).get("application/json", {})
        schema = shown.get("schema")
        if "$ref" in (schema or {}):
            # FastAPI merges the model into what it makes of the function's return type.
            shown["schema"] = {"$ref": schema["$ref"]}
        if int(status) >= 400:
            answer["content"] = {MEDIA_TYPE: {"schema": schema or {"$ref": "#/components/schemas/Problem"}}}
