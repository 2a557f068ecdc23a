"""The contract as OpenAPI: each route with the errors that it can give, all of them problems."""

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from lowtide.api.problems import MEDIA_TYPE


class FieldProblem(BaseModel):
    """One field at fault."""

    pointer: str
    code: str
    message: str


class Problem(BaseModel):
    """RFC 9457 problem details."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    errors: list[FieldProblem] | None = None


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


def responses() -> dict[int | str, dict[str, Any]]:
    """What every route is declared with; `describe` leaves each only what it can give."""
    return {status: {"model": Problem, "description": text} for status, text in ANSWERS.items()}


def describe(app: FastAPI) -> None:
    """Let the application's document tell the errors of each route as problems."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
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
        if int(status) >= 400:
            schema = answer.get("content", {}).get("application/json", {}).get("schema")
            answer["content"] = {MEDIA_TYPE: {"schema": schema or {"$ref": "#/components/schemas/Problem"}}}
