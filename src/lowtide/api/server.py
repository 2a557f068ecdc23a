"""The application: routes, problems, limits, and the contract as OpenAPI."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from fastapi import APIRouter, FastAPI
from pydantic import BaseModel

from lowtide.api import problems
from lowtide.api.limits import BodyLimit
from lowtide.api.routes import accounts, auctions, operations, quotes, sellers, tasks

_DESCRIPTION = """A self-hosted spot market for AI work.

Money is a decimal string in USD, times are RFC 3339 in UTC with `Z`, errors are `application/problem+json` with a stable
`code`. Send `Authorization: Bearer lt_…`; every POST takes an `Idempotency-Key`.
"""


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


_ANSWERS = {
    400: "Not JSON",
    401: "No valid key",
    402: "Insufficient funds",
    403: "The key's role does not allow it",
    404: "Nothing under that id",
    409: "Conflict with what stands",
    413: "Body too large",
    422: "A field is wrong",
    503: "Try again later",
}


def create_api(
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None = None, root_path: str = ""
) -> FastAPI:
    """The API. `lifespan`, or `app.attach`, puts the market and the dispatcher on `app.state`."""
    responses: dict[int | str, dict[str, object]] = {
        status: {"model": Problem, "description": text, "content": {problems.MEDIA_TYPE: {}}}
        for status, text in _ANSWERS.items()
    }
    app = FastAPI(
        title="Lowtide",
        version="0.1.0",
        description=_DESCRIPTION,
        lifespan=lifespan,
        root_path=root_path,
        redoc_url=None,
        responses=responses,
    )
    problems.install(app)
    app.add_middleware(BodyLimit)
    app.include_router(operations.router)
    native = APIRouter(prefix="/v1")
    for part in (
        accounts.router,
        sellers.router,
        quotes.router,
        operations.feeds,
        tasks.router,
        auctions.router,
    ):
        native.include_router(part)
    app.include_router(native)
    return app
