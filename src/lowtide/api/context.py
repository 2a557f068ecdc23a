"""What routes are handed: the market and the dispatcher of this node."""

from typing import Annotated, cast

from fastapi import Depends, Request

from lowtide.exchange.dispatch import Dispatcher
from lowtide.exchange.market import Market


def market_of(request: Request) -> Market:
    """The market of the application that serves the request."""
    return cast("Market", request.app.state.market)


def dispatcher_of(request: Request) -> Dispatcher:
    """The dispatcher of the application that serves the request."""
    return cast("Dispatcher", request.app.state.dispatcher)


TheMarket = Annotated[Market, Depends(market_of)]
TheDispatcher = Annotated[Dispatcher, Depends(dispatcher_of)]
