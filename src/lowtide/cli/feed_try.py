"""`lowtide feeds try`: what the market would understand of a price list or a tariff, without a market."""

import asyncio
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from lowtide.cli.feed_text import ignored, refused, skipped, sold, understood
from lowtide.cli.say import CommandFailed, money, table, when
from lowtide.values.errors import BadValue
from lowtide.values.instants import DAY_US, micros, rfc3339

if TYPE_CHECKING:
    from lowtide.feeds.formats import Context
    from lowtide.feeds.listing import Reading

STDIN = "-"
MAX_FILE_BYTES = 32 * 1024 * 1024


def document_of(source: str) -> bytes:
    """The bytes of a URL, a file, or standard input. Raises CommandFailed, and FeedFailed of a URL."""
    if source == STDIN:
        return sys.stdin.buffer.read()
    if source.startswith(("http://", "https://")):
        return asyncio.run(_fetched(source))
    if "://" in source:
        raise CommandFailed(f"{source} is neither a file nor a URL of http or https. Give one of these.")
    path = Path(source)
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise CommandFailed(
                f"{source} is larger than {MAX_FILE_BYTES // 2**20} MiB, the most that a feed may be."
            )
        return path.read_bytes()
    except OSError as fault:
        raise CommandFailed(f"{source} cannot be read: {fault.strerror}.") from None


async def _fetched(url: str) -> bytes:
    import httpx

    from lowtide.feeds.fetch import fetch
    from lowtide.wire.transport import Transport

    transport = Transport()
    try:
        async with httpx.AsyncClient(transport=transport) as client:
            found = await fetch(client, url)
    finally:
        await transport.aclose()
    return found.body


def tariff_of(document: bytes, source: str) -> Mapping[str, Any] | None:
    """The table of a tariff in TOML; None for anything else. Raises CommandFailed where a .toml file is no TOML."""
    named = source.endswith(".toml")
    try:
        table_ = tomllib.loads(document.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as fault:
        if named:
            raise CommandFailed(f"{source} is not TOML: {fault}.") from None
        return None
    return table_ if named or "zone" in table_ or "windows" in table_ or "schedules" in table_ else None


def show_tariff(table_: Mapping[str, Any], input_: str, output: str, at: int | None) -> None:
    """A week of a tariff over base prices (USD per million tokens), from an instant (µs) on."""
    from lowtide.market.quote import Prices
    from lowtide.market.tariff import expand
    from lowtide.market.tariff_table import tariff_from_table
    from lowtide.values.money import nano, usd

    tariff = tariff_from_table(table_)
    start = _now() if at is None else at
    quotes = expand(tariff, Prices(nano(input_), nano(output)), start, start + 7 * DAY_US, 0)
    typer.echo(
        f"A tariff in {tariff.zone}. The week from {when(rfc3339(start))}, over ${input_} and ${output}:"
    )
    limited = any(quote.capacity is not None for quote in quotes)
    table(
        ("from", "until", "input", "output", *(["capacity"] if limited else [])),
        [
            (
                when(rfc3339(quote.valid_from)),
                when(rfc3339(quote.valid_until or 0)),
                money(None if quote.prices.input is None else usd(quote.prices.input)),
                money(None if quote.prices.output is None else usd(quote.prices.output)),
                *([sold(None if quote.capacity is None else asdict(quote.capacity))] if limited else []),
            )
            for quote in quotes
        ],
        right=("input", "output"),
    )


def context_of(
    provider: str, at: int | None, both: Mapping[str, str] | None = None, **picks: Any
) -> "Context":
    """What the reader is told: prices as of `both_prices` for a list without; `picks` are fields of Context."""
    from lowtide.config import config_folder
    from lowtide.feeds.formats import Context
    from lowtide.feeds.model_names import load_model_names
    from lowtide.market.quote import Prices
    from lowtide.values.money import nano

    if both is not None:
        picks["prices"] = Prices(nano(both["input_per_mtok"]), nano(both["output_per_mtok"]))
    now = _now() if at is None else at
    names = load_model_names(config_folder() / "models.toml")
    return Context(provider=provider, now_us=now, valid_until_us=now + DAY_US, names=names, **picks)


def read(document: bytes, format: str | None, context: "Context") -> "Reading":
    """The reading. Raises BadValue."""
    from lowtide.feeds.formats import understand

    return understand(document, format, context)


def as_data(reading: "Reading", context: "Context") -> dict[str, Any]:
    """A reading as the API shows one, with all of its offers."""
    from lowtide.api.feed_views import understood as view

    return {
        "format": reading.format,
        "entries": reading.entries,
        "models": reading.models,
        "offers": len(reading.listings),
        "understood": [view(one, context.now_us) for one in reading.listings],
        "ignored": list(reading.ignored),
        "skipped": dict(reading.skipped),
        "refused": [
            {"entry": one.entry, "pointer": one.pointer, "code": one.code, "message": one.message}
            for one in reading.refused
        ],
    }


def show_reading(found: Mapping[str, Any], limit: int) -> None:
    """A reading for people: counts, offers, and what was refused."""
    typer.echo(
        f"Read as {found['format']}: {found['entries']:,} entries give {found['offers']:,} offers of "
        f"{found['models']:,} models; {len(found['refused']):,} refused. Nothing is registered."
    )
    ignored(found["ignored"])
    skipped(found["skipped"])
    if found["understood"]:
        typer.echo("")
        understood(found["understood"], limit)
    refused(found["refused"][:limit], len(found["refused"]))


def both_prices(text: str) -> dict[str, str]:
    """INPUT/OUTPUT in USD per million tokens, as the API takes prices. A wrong call where it is none."""
    from lowtide.feeds.formats.amounts import PER_MTOK, unit_price

    input_, slash, output = (part.strip() for part in text.partition("/"))
    if not slash or not input_ or not output:
        raise typer.BadParameter(f"{text!r} is no pair of prices. Write INPUT/OUTPUT, such as 0.25/1.25.")
    try:
        unit_price(input_, PER_MTOK, ())
        unit_price(output, PER_MTOK, ())
    except BadValue as fault:
        raise typer.BadParameter(fault.detail) from None
    return {"input_per_mtok": input_, "output_per_mtok": output}


def price(text: str) -> str:
    """A price as given. A wrong call where it is none."""
    from lowtide.values.money import nano

    try:
        nano(text)
    except BadValue as fault:
        raise typer.BadParameter(fault.detail) from None
    return text


def _now() -> int:
    return micros(datetime.now(UTC))
