"""The price rows of OpenRouter's provider documents, as quotes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache

from lowtide.feeds.formats.amounts import (
    PER_TOKEN,
    decimal_of,
    discounted,
    price_of,
    request_price,
    unit_price,
)
from lowtide.feeds.formats.conditions import holds, thresholds
from lowtide.feeds.formats.fields import Node, shown
from lowtide.feeds.formats.levels import (
    MOST_CONDITIONS,
    Level,
    daily_edges,
    minute_of_day,
    stepped,
    timed,
    within,
)
from lowtide.feeds.formats.utc_window import utc_window
from lowtide.market.quote import Prices, Quote

_TYPES = {
    ("prompt", "token"): "input",
    ("completion", "token"): "output",
    ("cached_prompt", "token"): "cached_input",
    ("cache_write", "token"): "cache_write",
    ("request", "request"): "per_request",
}
_FREE: Level = {"input": 0, "output": 0, "cached_input": None, "cache_write": None, "per_request": 0}


@dataclass(frozen=True, slots=True)
class Row:
    """A price of a type, within a window of the UTC day or always, and what replaces it for some input lengths."""

    name: str
    price: int | None
    window: tuple[int, int] | None
    ttl_s: int
    overrides: tuple[tuple[Node, int | None], ...]

    def price_for(self, tokens: int) -> int | None:
        """The price for an input of so many tokens: the last override that holds."""
        price = self.price
        for when, replaced in self.overrides:
            if holds(when, tokens):
                price = replaced
        return price


def row_quotes(model: Node, start_us: int, end_us: int) -> tuple[Quote, ...]:
    """The quotes of a model's price rows over `[start_us, end_us)`, µs UTC. Raises Fault."""
    if model.flag("is_free"):
        return timed(lambda at: stepped(lambda tokens: _FREE, ()), (), start_us, end_us)
    if isinstance(model.get("pricing"), Mapping):
        raise model.fault(
            "wrong_type",
            'pricing is an object; this format has a list of rows such as {"type": "prompt", "unit": "token", '
            '"cost_usd": "0.000001"}. Send rows.',
            "pricing",
        )
    if not model.items("pricing"):
        return ()
    rows = _rows(model)
    lengths = {length for row in rows for when, _ in row.overrides for length in thresholds(when)}
    if sum(1 + len(row.overrides) for row in rows) + len(lengths) > 2 * MOST_CONDITIONS:
        raise model.fault(
            "too_many_overrides",
            "The price rows have too many overrides and conditions. Merge some of them.",
            "pricing",
        )

    @cache
    def prices_of(minute: int) -> Prices:
        current = _current(rows, minute)
        return stepped(
            lambda tokens: {row.name: row.price_for(tokens) for row in current},
            lengths,
            (*model.path, "pricing"),
        )

    edges = [minute for row in rows if row.window for minute in row.window]
    return timed(
        lambda at: prices_of(minute_of_day(at)), daily_edges(edges, start_us, end_us), start_us, end_us
    )


def _current(rows: Iterable[Row], minute: int) -> list[Row]:
    """The row of each type that holds: one for these hours before one for always, then the later."""
    found: dict[str, Row] = {}
    for row in rows:
        if row.window is not None and not within(*row.window, minute):
            continue
        before = found.get(row.name)
        if before is None or row.window is not None or before.window is None:
            found[row.name] = row
    return list(found.values())


def _rows(model: Node) -> list[Row]:
    factor = _factor(model)
    rows = [
        _row(node, _TYPES[kind], factor) for node in model.nodes("pricing") if (kind := _kind(node)) in _TYPES
    ]
    # Writes that live for an hour cost more; the market's cache-write price is that of the shortest.
    shortest = min((row.ttl_s for row in rows if row.name == "cache_write"), default=0)
    return [row for row in rows if row.name != "cache_write" or row.ttl_s == shortest]


def _kind(node: Node) -> tuple[str, str]:
    """Type and unit of a row; a row without a unit is priced by the usual one."""
    kind = node.text("type")
    if not kind:
        raise node.fault("missing_field", "type is missing. Send prompt, completion or another.", "type")
    return kind, node.text("unit") or ("request" if kind == "request" else "token")


def _row(node: Node, name: str, factor: Decimal) -> Row:
    if node.get("cost_usd") is None:
        raise node.fault("missing_field", "cost_usd is missing. Send the price in USD.", "cost_usd")
    return Row(
        name,
        _cost(node, name, factor),
        utc_window(node),
        node.count("ttl_seconds") or 0,
        tuple(_override(part, name, factor) for part in node.nodes("overrides")),
    )


def _override(node: Node, name: str, factor: Decimal) -> tuple[Node, int | None]:
    when = node.node("when")
    if when is None or node.get("cost_usd") is None:
        raise node.fault("missing_field", "An override needs when and cost_usd. Send both.")
    holds(when, 1)
    return when, _cost(node, name, factor)


def _cost(node: Node, name: str, factor: Decimal) -> int | None:
    path = (*node.path, "cost_usd")
    usd = discounted(price_of(node.get("cost_usd"), path), factor)
    return request_price(usd, path) if name == "per_request" else unit_price(usd, PER_TOKEN, path)


def _factor(model: Node) -> Decimal:
    """What is left of a price after `discount_to_user`; a negative discount is a markup."""
    if model.get("discount_to_user") is None:
        return Decimal(1)
    discount = decimal_of(model.get("discount_to_user"), (*model.path, "discount_to_user"))
    if not -100 <= discount < 1:
        raise model.fault(
            "out_of_range",
            f"{shown(discount)} is no discount. Send a fraction below 1, such as 0.2 for 20 %.",
            "discount_to_user",
        )
    return 1 - discount
