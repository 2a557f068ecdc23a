"""Price history as the contract's JSON, and as the columns of a CSV or Parquet table."""

from typing import Any

from lowtide.api.tables import RATIO, TIME, USD, Column
from lowtide.api.views import when
from lowtide.exchange.prices import PriceHistory, step_text
from lowtide.market.price_history import Bar, UnitPrices
from lowtide.values.money import usd

NAMES = (
    "input_per_mtok",
    "output_per_mtok",
    "cached_input_per_mtok",
    "cache_write_per_mtok",
    "per_request",
)
"""The fields of UnitPrices as the contract names them."""
_PARTS = ("open", "high", "low", "close", "mean")


def price_history(found: PriceHistory) -> dict[str, Any]:
    """Bars or ticks."""
    if found.step is None:
        data = [{"at": when(tick.at), "prices": _unit_prices(tick.prices)} for tick in found.ticks]
    else:
        data = [_bar(bar) for bar in found.bars]
    return {
        "offer_id": found.offer_id,
        "source": found.source,
        "from": when(found.begin),
        "to": when(found.end),
        "step": "ticks" if found.step is None else step_text(found.step),
        "data": data,
    }


def _unit_prices(prices: UnitPrices | None) -> dict[str, str] | None:
    return None if prices is None else dict(zip(NAMES, map(usd, prices), strict=True))


def _bar(bar: Bar) -> dict[str, Any]:
    shown: dict[str, Any] = {"start": when(bar.start), "covered": _covered(bar)}
    for name, figures in zip(NAMES, _figures(bar), strict=True):
        shown[name] = dict(zip(_PARTS, map(usd, figures), strict=True))
    return shown


def _figures(bar: Bar) -> list[tuple[int, ...]]:
    return [(*span[:4], mean) for span, mean in zip(bar.spans, bar.means, strict=True)]


def _covered(bar: Bar) -> float:
    return bar.covered / (bar.end - bar.start)


def price_columns(found: PriceHistory) -> list[Column]:
    """A row a bar: start, covered, and `input_per_mtok_open` and so on; or a row a tick: at, and its prices."""
    if found.step is None:
        ticks = found.ticks
        prices = [
            Column(name, USD, [None if tick.prices is None else tick.prices[number] for tick in ticks])
            for number, name in enumerate(NAMES)
        ]
        return [Column("at", TIME, [tick.at for tick in ticks]), *prices]
    figures = [_figures(bar) for bar in found.bars]
    prices = [
        Column(f"{name}_{part}", USD, [row[number][place] for row in figures])
        for number, name in enumerate(NAMES)
        for place, part in enumerate(_PARTS)
    ]
    return [
        Column("start", TIME, [bar.start for bar in found.bars]),
        Column("covered", RATIO, [_covered(bar) for bar in found.bars]),
        *prices,
    ]
