"""`csv`: prices in a table, one row an interval, with the columns of our JSON laid flat.

Needed: model, input_per_mtok, output_per_mtok (USD per million tokens). Known besides: upstream_model, lane, variant,
cached_input_per_mtok, cache_write_per_mtok, per_request, valid_from, valid_until, currency, context_window,
max_output_tokens, concurrency, requests_per_minute, tokens_per_minute, region or regions (several with spaces between).
Comma, semicolon or tab separate. Rows of one upstream model, lane and variant are one listing; what is not a price or an
interval its first row says. Other columns are ignored, and the reading names them. A row is named as in a spreadsheet:
the header is row 1.
"""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from lowtide.feeds.formats.context import Context
from lowtide.feeds.formats.document import Document
from lowtide.feeds.formats.entries import Entry, Fault, reading, refusal
from lowtide.feeds.formats.fields import Node, features
from lowtide.feeds.formats.ignored_fields import COLUMNS, distinct
from lowtide.feeds.formats.own_fields import (
    PRICE_FIELDS,
    WRONG_UNITS,
    clipped,
    lane_of,
    limits,
    prices_of,
    slot,
    variant_of,
    wanted,
)
from lowtide.feeds.listing import DEFAULT_CONTEXT_WINDOW, Listing, Reading, Refusal
from lowtide.market.quote import Quote
from lowtide.values.canonical import canonical, sha256
from lowtide.values.errors import BadValue

NAME = "csv"
NEEDED = ("model", "input_per_mtok", "output_per_mtok")
_SEPARATORS = ",;\t"
_PRICES = (*PRICE_FIELDS, "per_request", "currency")


@dataclass(slots=True)
class Offered:
    """The rows of one offer with their quotes, and the cells as they stood."""

    upstream: str
    lane: str
    variant: str
    rows: list[Node] = field(default_factory=list)
    quotes: list[Quote] = field(default_factory=list)
    cells: list[list[str]] = field(default_factory=list)


def fits(document: Document) -> bool:
    """Whether the first line is a header with a column `model`."""
    return document.text is not None and "model" in _header(document.text)[1]


def take(document: Document, context: Context) -> Reading:
    """The listings of the table. Raises BadValue."""
    if document.text is None:
        raise BadValue("not_this_format", f"The table cannot be read: {document.fault}. Save it as UTF-8.")
    columns = _header(document.text)[1]
    _require(columns)
    ignored = distinct(name for name in columns if name and name not in COLUMNS)
    offers: dict[tuple[str, str, str], Entry] = {}
    refused: list[Refusal] = []
    count = 0
    for entry in _rows(document.text):
        count += 1
        try:
            _collect(entry, offers, context)
        except BadValue as fault:
            refused.append(refusal(entry, fault))
    if count and not offers:
        return Reading(NAME, (), tuple(refused), count, ignored=ignored)
    found = reading(NAME, offers.values(), lambda entry: _listings(entry.value, context))
    return replace(found, refused=(*refused, *found.refused), entries=count, ignored=ignored)


def _require(columns: list[str]) -> None:
    missing = [name for name in NEEDED if name not in columns]
    if missing:
        wrong = [name for name in columns if name.endswith(WRONG_UNITS)]
        unit = f" {ascii(wrong[0])[:40]} is another unit." if wrong else ""
        raise BadValue(
            "not_this_format",
            f"The table lacks {' and '.join(missing)}.{unit} Its first row must name the columns, at least "
            f"{', '.join(NEEDED)}: USD per million tokens.",
        )


def _header(text: str) -> tuple[str, list[str]]:
    """The separator that gives the first line most columns, and their names."""
    line = text.lstrip("\r\n").partition("\n")[0].rstrip("\r")
    separator = max(_SEPARATORS, key=line.count)
    return separator, [name.strip().strip('"').strip().lower() for name in line.split(separator)]


def _rows(text: str) -> Iterator[Entry]:
    """The rows below the header that are not blank; a value is (columns by name, all cells)."""
    separator, columns = _header(text)
    lines = csv.reader(io.StringIO(text.lstrip("\r\n"), newline=""), delimiter=separator)
    try:
        next(lines, None)
        for number, cells in enumerate(lines, start=2):
            if any(cell.strip() for cell in cells):
                named = {
                    name: cell.strip() for name, cell in zip(columns, cells, strict=False) if cell.strip()
                }
                yield Entry(named.get("model", ""), (named, cells, len(columns)), f"/row/{number}")
    except csv.Error as error:
        raise BadValue(
            "not_this_format", f"The table cannot be read: {error}. Quote fields with double quotes."
        ) from None


def _collect(entry: Entry, offers: dict[tuple[str, str, str], Entry], context: Context) -> None:
    """Add a row to its offer. Raises Fault."""
    named, cells, columns = entry.value
    if len(cells) > columns:
        raise Fault(
            "too_many_cells",
            f"The row has {len(cells)} cells, the header {columns}. Quote cells with separators.",
        )
    row = Node(named)
    key = (
        row.name("upstream_model" if row.get("upstream_model") else "model"),
        lane_of(row),
        variant_of(row),
    )
    quote = slot(prices_of(Node({name: named[name] for name in _PRICES if name in named})), row, context)
    offered = offers.setdefault(key, Entry(entry.name, Offered(*key), entry.pointer)).value
    offered.rows.append(row)
    offered.quotes.append(quote)
    offered.cells.append(cells)


def _listings(offered: Offered, context: Context) -> Iterator[Listing]:
    row = offered.rows[0]
    wanted((offered.upstream, row.name("model")), offered.lane, context)
    model = context.names.market_name(row.name("model"))
    window = row.tokens("context_window") or DEFAULT_CONTEXT_WINDOW
    places = row.text("regions") or row.text("region")
    yield Listing(
        provider=context.provider,
        model=model,
        upstream_model=offered.upstream,
        lane=offered.lane,
        variant=offered.variant,
        quotes=clipped(offered.quotes, context, ()),
        context_window=window,
        max_output_tokens=min(row.tokens("max_output_tokens") or context.max_output_tokens, window),
        modalities=context.names.modalities(model),
        features=features(context.features),
        regions=tuple(dict.fromkeys(places.lower().replace("|", " ").split())),
        capacity=limits(row),
        raw=sha256(canonical(offered.cells)).hex(),
    )
