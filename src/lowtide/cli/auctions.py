"""`lowtide auctions`: review what was decided, and decide it again."""

from pathlib import Path
from typing import Annotated

import typer

from lowtide.cli.auction_text import show_auction, show_differences
from lowtide.cli.options import DEFAULT_URL, After, AsJson, Key, Limit, Url, group
from lowtide.cli.say import CommandFailed, money, more, plain, table, when
from lowtide.cli.service import Service
from lowtide.cli.times import moment

app = group("Review what was decided, and decide it again.")
_Auction = Annotated[str, typer.Argument(metavar="AUCTION", help="Its id.")]


@app.command("list")
def list_(
    task: Annotated[str | None, typer.Option(help="Only auctions of this task.")] = None,
    provider: Annotated[str | None, typer.Option(help="Only those that this provider won.")] = None,
    outcome: Annotated[str | None, typer.Option(help="awarded, held, queued or unfilled.")] = None,
    reason: Annotated[str | None, typer.Option(help="Only those that this code decided.")] = None,
    from_: Annotated[
        str | None, typer.Option("--from", help="Opened at or after this time with its zone.")
    ] = None,
    to: Annotated[str | None, typer.Option(help="Opened before this time with its zone.")] = None,
    url: Url = DEFAULT_URL,
    key: Key = None,
    limit: Limit = 50,
    after: After = None,
    as_json: AsJson = False,
) -> None:
    """List auctions, the newest first. `expected` is the price for the expected usage; the actual usage is paid.

    Example: lowtide auctions list --outcome held
    """
    times = {"from": from_ and moment(from_), "to": to and moment(to)}
    page = Service(url, key).get(
        "/v1/auctions",
        task_id=task,
        provider=provider,
        outcome=outcome,
        reason=reason,
        limit=limit,
        after=after,
        **times,
    )
    if as_json:
        typer.echo(page.text)
        return
    table(
        ("id", "opened", "won by", "expected", "outcome"),
        [
            (
                row["id"],
                when(row["opened_at"]),
                "(call)" if row["kind"] == "call" else plain(row["provider"]),
                money(row["clearing_price_usd"]),
                row["outcome"] + (f": {row['reason']}" if row["reason"] else ""),
            )
            for row in page.data["data"]
        ],
        right=("expected",),
        empty="Post work with `lowtide tasks submit`; its auction runs at once.",
    )
    more(page.data)


@app.command("show")
def show(
    auction: _Auction,
    every: Annotated[bool, typer.Option("--all", help="Every bid, however many.")] = False,
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Show an auction: every bid by rank, with why it lost, and why it ended so.

    Example: lowtide auctions show auc_01abc…
    """
    found = Service(url, key).get(f"/v1/auctions/{auction}")
    if as_json:
        typer.echo(found.text)
    else:
        show_auction(found.data, every=every)


@app.command("why")
def why(
    auction: _Auction,
    offer: Annotated[str, typer.Argument(metavar="OFFER", help="The offer's id.")],
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Why an offer did not win, and what it would have had to bid, or to prove.

    Example: lowtide auctions why auc_01abc… off_01abc…
    """
    found = Service(url, key).get(f"/v1/auctions/{auction}/why", offer_id=offer)
    typer.echo(found.text if as_json else found.data["why"])


@app.command("replay")
def replay(auction: _Auction, url: Url = DEFAULT_URL, key: Key = None, as_json: AsJson = False) -> None:
    """Decide an auction again from its record. Exit 1 where it does not come out the same.

    Example: lowtide auctions replay auc_01abc…
    """
    found = Service(url, key).post(f"/v1/auctions/{auction}/replay")
    if as_json:
        typer.echo(found.text)
    elif found.data["identical"]:
        typer.echo(f"{auction}: identical. Decided again from its record, it came out the same to the byte.")
    else:
        show_differences(found.data)
    if not found.data["identical"]:
        raise typer.Exit(1)


@app.command("export")
def export(
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file; without it, stdout.")] = None,
    format_: Annotated[str, typer.Option("--format", help="jsonl: the log itself.")] = "jsonl",
    url: Url = DEFAULT_URL,
    key: Key = None,
) -> None:
    """Export the log: book lines, auctions and settlements, one JSON a line.

    Example: lowtide auctions export --output auctions.jsonl
    """
    chunks = Service(url, key).chunks("/v1/auctions/export", format=format_)
    if output is None:
        stdout = typer.get_binary_stream("stdout")
        for chunk in chunks:
            stdout.write(chunk)
        stdout.flush()
        return
    lines = 0
    try:
        with output.open("wb") as file:
            for chunk in chunks:
                file.write(chunk)
                lines += chunk.count(b"\n")
    except OSError as fault:
        raise CommandFailed(f"{output} cannot be written: {fault.strerror}.") from None
    typer.echo(f"{lines} lines are in {output}.")
