"""`lowtide offers prices`: what an offer cost, as a table to read or a file to take away."""

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from lowtide.cli.options import DEFAULT_URL, Key, Url
from lowtide.cli.say import NOTHING, CommandFailed, brief, money, table, when
from lowtide.cli.service import Service
from lowtide.cli.times import moment


class PriceFormat(StrEnum):
    """How prices are given."""

    TABLE = "table"
    CSV = "csv"
    PARQUET = "parquet"
    JSON = "json"


def prices(
    offer: Annotated[str, typer.Argument(metavar="OFFER", help="Its id.")],
    from_: Annotated[
        str | None,
        typer.Option("--from", help="From when: a time with its zone, or -7d. [default: a day before --to]"),
    ] = None,
    to: Annotated[str | None, typer.Option(help="Until when, likewise. [default: now]")] = None,
    step: Annotated[
        str | None,
        typer.Option(help="90s, 15m, 1h, 1d; or ticks: every change. [default: one that fits]"),
    ] = None,
    format_: Annotated[PriceFormat, typer.Option("--format", help="How to give them.")] = PriceFormat.TABLE,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file; without it, stdout.")] = None,
    source: Annotated[
        str | None, typer.Option(help="Another source's reference prices: push, or a feed's id.")
    ] = None,
    url: Url = DEFAULT_URL,
    key: Key = None,
) -> None:
    """Show what an offer cost: USD per million tokens by step, or each change.

    Example: lowtide offers prices off_01abc… --from -7d --step 1h --format csv --output prices.csv
    """
    asked = {
        "from": None if from_ is None else moment(from_),
        "to": None if to is None else moment(to),
        "step": step,
        "source": source,
    }
    sent = {name: value for name, value in asked.items() if value is not None}
    service, path = Service(url, key), f"/v1/offers/{offer}/prices"
    if format_ is PriceFormat.TABLE:
        if output is not None:
            raise typer.BadParameter("A table is for the eye. Take --format csv, parquet or json for a file.")
        _show(service.get(path, **sent).data)
        return
    if format_ is PriceFormat.PARQUET and output is None:
        raise typer.BadParameter("Parquet is no text. Name a file: --output prices.parquet.")
    _write(service.chunks(path, **sent, format=format_.value), output)


def _write(chunks: Iterator[bytes], output: Path | None) -> None:
    if output is None:
        stdout = typer.get_binary_stream("stdout")
        for chunk in chunks:
            stdout.write(chunk)
        stdout.flush()
        return
    # The market is asked before the file is touched: a refusal leaves what was there.
    content = b"".join(chunks)
    try:
        output.write_bytes(content)
    except OSError as fault:
        raise CommandFailed(f"{output} cannot be written: {fault.strerror}.") from None
    typer.echo(f"The prices are in {output}.")


def _show(history: dict[str, Any]) -> None:
    typer.echo(
        f"{history['offer_id']} from {when(history['from'])} to {when(history['to'])}, step {history['step']}, "
        "USD per million tokens."
    )
    empty = "No price held in that range."
    if history["step"] == "ticks":
        table(
            ("from", "input", "output", "per request"),
            [_tick(tick) for tick in history["data"]],
            right=("input", "output", "per request"),
            empty=empty,
        )
        return
    columns = ("from", "open", "high", "low", "close", "mean", "output mean", "covered")
    table(columns, [_bar(bar) for bar in history["data"]], right=columns[1:], empty=empty)


def _tick(tick: dict[str, Any]) -> tuple[str, ...]:
    found = tick["prices"]
    if found is None:
        return (when(tick["at"]), "no price", NOTHING, NOTHING)
    return (
        when(tick["at"]),
        money(found["input_per_mtok"]),
        money(found["output_per_mtok"]),
        money(found["per_request"]),
    )


def _bar(bar: dict[str, Any]) -> tuple[str, ...]:
    spans = [brief(bar["input_per_mtok"][part]) for part in ("open", "high", "low", "close", "mean")]
    return (when(bar["start"]), *spans, brief(bar["output_per_mtok"]["mean"]), f"{bar['covered']:.0%}")
