"""Auctions as people read them."""

import json
from typing import Any

import typer

from lowtide.cli.say import NOTHING, facts, money, plain, table, when

SHOWN = 40
"""Bids shown of a large book; --all shows the rest."""


def show_auction(auction: dict[str, Any], *, every: bool) -> None:
    """An auction: limits, bids by rank, why it ended so, and how to check it."""
    limits = ", ".join(f"{name} {plain(value)}" for name, value in auction["constraints"].items())
    facts(
        [
            ("auction", auction["id"]),
            ("task", auction["task_id"]),
            ("opened", when(auction["opened_at"])),
            ("book", f"version {auction['book_version']}"),
            ("rule", auction["rule"]),
            ("limits", limits),
            ("outcome", auction["outcome"] + (f" ({auction['reason']})" if auction["reason"] else "")),
            ("price", None if auction["winner"] is None else money(auction["clearing_price_usd"])),
        ]
    )
    typer.echo("")
    bids = auction["bids"] if every else auction["bids"][:SHOWN]
    table(
        ("rank", "offer", "bid", "quality", "p95", "reason"),
        [_bid(bid, auction["winner"]) for bid in bids],
        right=("rank", "bid", "quality", "p95"),
    )
    if len(bids) < len(auction["bids"]):
        typer.echo(f"… and {len(auction['bids']) - len(bids)} more: --all shows them.")
    typer.echo("")
    typer.echo(auction["explanation"])
    again = "identical" if auction["replay"]["identical"] else "NOT identical"
    typer.echo(f"Replayed just now: {again}. Replay it yourself: lowtide auctions replay {auction['id']}")


def _bid(bid: dict[str, Any], winner: str | None) -> tuple[str, ...]:
    p95 = bid["latency_ms"]["p95"]
    quality = bid["quality"]["lower_bound"]
    won = bid["offer_id"] == winner
    return (
        plain(bid["rank"]),
        f"{bid['provider']} {bid['model']}" + ("" if bid["lane"] == "standard" else f" ({bid['lane']})"),
        money(bid["bid_usd"]),
        NOTHING if quality is None else f"{quality:.3f}",
        NOTHING if p95 is None else f"{p95} ms",
        "won" if won else bid["loss_reason"] or "still in",
    )


def show_differences(replayed: dict[str, Any]) -> None:
    """What a replay found to differ."""
    typer.echo(f"{replayed['auction_id']}: NOT identical. Decided again, these fields differ:", err=True)
    for one in replayed["differences"]:
        stored, now = (json.dumps(one[name], ensure_ascii=False) for name in ("stored", "now"))
        typer.echo(f"  {one['field']}: the record has {stored}, the replay {now}", err=True)
