"""The application: routes, problems, limits, and the contract as OpenAPI."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from fastapi import APIRouter, FastAPI
from fastapi_swagger import patch_fastapi

from lowtide.api import contract, problems
from lowtide.api.limits import BodyLimit
from lowtide.api.routes import (
    accounts,
    auctions,
    book,
    feeds,
    forecasts,
    operations,
    prices,
    quotes,
    savings,
    sellers,
    tasks,
)

_DESCRIPTION = """A self-hosted spot market for AI work.

Money is a decimal string in USD, times are RFC 3339 in UTC with `Z`, errors are `application/problem+json` with a stable
`code`. Send `Authorization: Bearer lt_…`; every POST takes an `Idempotency-Key`.
"""


def create_api(
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None = None, root_path: str = ""
) -> FastAPI:
    """The API. `lifespan`, or `app.attach`, puts the market and the dispatcher on `app.state`."""
    app = FastAPI(
        title="Lowtide",
        version="0.1.0",
        description=_DESCRIPTION,
        lifespan=lifespan,
        root_path=root_path,
        redoc_url=None,
        docs_url=None,
        swagger_ui_oauth2_redirect_url=None,
        responses=contract.responses(),
    )
    # The documentation's scripts come out of a package: /docs works offline.
    patch_fastapi(app)
    problems.install(app)
    app.add_middleware(BodyLimit)
    app.include_router(operations.router)
    native = APIRouter(prefix="/v1")
    for part in (
        accounts.router,
        sellers.router,
        quotes.router,
        book.router,
        prices.router,
        forecasts.router,
        feeds.router,
        tasks.router,
        savings.router,
        auctions.router,
    ):
        native.include_router(part)
    app.include_router(native)
    contract.describe(app)
    return app
