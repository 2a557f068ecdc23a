"""`lowtide offers watch`: prices as they change, a line each."""

import json
import time
from typing import Annotated, Any

import typer

from lowtide.cli.offer_text import named
from lowtide.cli.options import DEFAULT_URL, AsJson, Key, Url
from lowtide.cli.say import money, when
from lowtide.cli.service import Service
from lowtide.cli.watching import for_so_long

Line = tuple[str, str]


def watch(
    model: Annotated[str | None, typer.Option(help="Only this model; * and ? stand for anything.")] = None,
    provider: Annotated[str | None, typer.Option(help="Only this provider's, likewise.")] = None,
    lane: Annotated[str | None, typer.Option(help="priority, standard, flex, batch or spot.")] = None,
    max_input: Annotated[
        str | None, typer.Option(help="Only up to this input price, USD per million.")
    ] = None,
    seconds: Annotated[float | None, typer.Option(help="Stop after so long. [default: Ctrl-C]")] = None,
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Show every offer's price now, and each change as it comes.

    Example: lowtide offers watch --model 'gpt-*'
    """
    service = Service(url, key)
    asked = {"model": model, "provider": provider, "lane": lane, "max_input_per_mtok": max_input}
    shown = Prices()
    after: str | None = None
    ends = None if seconds is None else time.monotonic() + seconds
    while True:
        events = service.events("/v1/book/stream", **asked, after=after)
        after = None
        for kind, data in events if ends is None else for_so_long(events, ends - time.monotonic()):
            event = json.loads(data)
            if kind == "dropped":
                after = event["last_event_id"]
            elif as_json:
                typer.echo(data)
            else:
                for line in shown.lines(event):
                    typer.echo(line)
        if after is None:
            return


class Prices:
    """What was shown of each offer last: a change that leaves its price as it is, such as of its health, is no news."""

    def __init__(self) -> None:
        self._shown: dict[str, Line] = {}

    def lines(self, event: dict[str, Any]) -> list[str]:
        """An event as lines, one for each offer whose price is another."""
        at = when(event["as_of"])
        fresh = {
            ask["offer_id"]: line
            for ask in event["data"]
            if self._shown.get(ask["offer_id"]) != (line := (named(ask | {"variant": ""}), _price(ask)))
        }
        self._shown |= fresh
        gone = [self._shown.pop(offer_id, None) for offer_id in event.get("removed", ())]
        return [
            *(f"{at}  {name}  {price}" for name, price in fresh.values()),
            *(f"{at}  {one[0]}  no longer among these" for one in gone if one is not None),
        ]


def _price(ask: dict[str, Any]) -> str:
    prices = ask["prices"]
    if prices is None:
        return "no price"
    held = ", held back" if ask["quarantined"] else ""
    until = "" if ask["valid_until"] is None else f", until {when(ask['valid_until'])}"
    return f"{money(prices['input_per_mtok'])} in, {money(prices['output_per_mtok'])} out{until}{held}"
