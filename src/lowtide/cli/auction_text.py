"""Auctions as people read them."""

import json
import textwrap
from typing import Any

import typer

from lowtide.cli.offer_text import named
from lowtide.cli.say import NOTHING, WIDTH, brief, facts, money, plain, table, when

SHOWN = 40
"""Bids shown of a large book; --all shows the rest."""
BIDS_WIDTH = 120
"""Columns of the table of bids, which has more to tell than others."""
_LEGEND = (
    "bid: USD expected at the usual usage, by which bids rank; worst: USD at the longest answer, held against the "
    "budget; quality: claimed/verified/lower bound, of which the last counts; p95: of the whole answer; score: USD that "
    "the bid leaves the requester; tie at: the bid that would have tied. Money here has 4 digits; --json is exact."
)


def show_auction(auction: dict[str, Any], *, every: bool) -> None:
    """An auction: limits, the decision to wait, bids by rank, why it ended so, and how to check it."""
    if "cleared" in auction:
        _show_call(auction, every=every)
    else:
        facts(_head(auction))
        typer.echo("")
        _show_bids(auction, every=every)
    typer.echo("")
    typer.echo(
        textwrap.fill(auction["explanation"], WIDTH) if "cleared" in auction else auction["explanation"]
    )
    again = "identical" if auction["replay"]["identical"] else "NOT identical"
    typer.echo(f"Replayed just now: {again}. Replay it yourself: lowtide auctions replay {auction['id']}")


def _show_call(auction: dict[str, Any], *, every: bool) -> None:
    """How many tasks were cleared, how well, and what a place is worth in each slot."""
    cleared = auction["cleared"]
    facts(
        [
            ("auction", f"{auction['id']} (call: many tasks, cleared together)"),
            ("opened", when(auction["opened_at"])),
            ("book", f"version {auction['book_version']}"),
            ("rule", auction["rule"]),
            ("tasks", f"{cleared['tasks']}, of which {cleared['placed']} got a place"),
            (
                "welfare",
                f"{money(cleared['welfare_usd'])} ({cleared['how']}, gap {money(cleared['gap_usd'])})",
            ),
            ("solver", cleared["solver"]),
        ]
    )
    typer.echo("")
    pools = cleared["pools"] if every else cleared["pools"][:SHOWN]
    table(
        ("slot from", "offer", "carries", "placed", "worth of a place more"),
        [
            (
                when(pool["slot_from"]),
                named(pool),
                plain(pool["capacity"]),
                plain(pool["placed"]),
                money(pool["shadow_price_usd"]),
            )
            for pool in pools
        ],
        right=("carries", "placed", "worth of a place more"),
        empty="No task could be placed.",
    )
    if len(pools) < len(cleared["pools"]):
        typer.echo(f"… and {len(cleared['pools']) - len(pools)} more: --all shows them.")


def _show_bids(auction: dict[str, Any], *, every: bool) -> None:
    bids = auction["bids"] if every else auction["bids"][:SHOWN]
    table(
        ("rank", "offer", "bid", "worst", "quality", "p95 ms", "score", "tie at", "reason"),
        [_bid(bid, auction["winner"]) for bid in bids],
        right=("rank", "bid", "worst", "quality", "p95 ms", "score", "tie at"),
        empty="The book had no offers: see `lowtide offers add`.",
        width=BIDS_WIDTH,
    )
    if bids:
        typer.echo(textwrap.fill(_LEGEND, WIDTH))
    if len(bids) < len(auction["bids"]):
        typer.echo(f"… and {len(auction['bids']) - len(bids)} more: --all shows them.")


def _head(auction: dict[str, Any]) -> list[tuple[str, str | None]]:
    limits = ", ".join(f"{name} {plain(value)}" for name, value in auction["constraints"].items())
    won = None if auction["winner"] is None else money(auction["clearing_price_usd"])
    return [
        ("auction", auction["id"]),
        ("task", auction["task_id"]),
        ("opened", when(auction["opened_at"])),
        ("book", f"version {auction['book_version']}"),
        ("rule", auction["rule"]),
        ("limits", limits),
        ("outcome", auction["outcome"] + (f" ({auction['reason']})" if auction["reason"] else "")),
        ("expected price", won),
        *([] if auction["deferral"] is None else _deferral(auction["deferral"], auction["bids"])),
    ]


def _deferral(found: dict[str, Any], bids: list[dict[str, Any]]) -> list[tuple[str, str | None]]:
    """The decision to wait, as facts."""
    awaited = next((named(bid) for bid in bids if bid["offer_id"] == found["offer_id"]), found["offer_id"])
    best = found["price_now_usd"]
    return [
        ("waits for", f"{awaited} ({found['policy']})"),
        ("slot from", when(found["slot_from"])),
        ("expected then", money(found["expected_price_usd"])),
        ("best bid now", "nobody can serve it" if best is None else money(best)),
        ("reservation", f"{money(found['reservation_price_usd'])}: a bid at or under it ends the wait"),
        ("release", when(found["release_at"])),
        ("latest start", when(found["latest_start"])),
    ]


def _bid(bid: dict[str, Any], winner: str | None) -> tuple[str, ...]:
    p95 = bid["latency_ms"]["p95"]
    won = bid["offer_id"] == winner
    return (
        plain(bid["rank"]),
        named(bid),
        brief(bid["bid_usd"]),
        brief(bid["worst_usd"]),
        _quality(bid["quality"]),
        plain(p95),
        brief(bid["score_usd"]),
        brief(bid["min_to_win_usd"]),
        "won" if won else bid["loss_reason"] or "still in",
    )


def _quality(quality: dict[str, Any]) -> str:
    """Claimed, verified and lower bound: .93/.85/.85. Cut, not rounded, so that none looks better than it counts."""
    return "/".join(_share(quality[name]) for name in ("claimed", "verified", "lower_bound"))


def _share(value: float | None) -> str:
    if value is None:
        return NOTHING
    thousandths = int(value * 1_000 + 1e-6)
    return "1" if thousandths >= 1_000 else f".{thousandths:03d}".rstrip("0").ljust(3, "0")


def show_differences(replayed: dict[str, Any]) -> None:
    """What a replay found to differ."""
    typer.echo(f"{replayed['auction_id']}: NOT identical. Decided again, these fields differ:", err=True)
    for one in replayed["differences"]:
        stored, now = (json.dumps(one[name], ensure_ascii=False) for name in ("stored", "now"))
        typer.echo(f"  {one['field']}: the record has {stored}, the replay {now}", err=True)
