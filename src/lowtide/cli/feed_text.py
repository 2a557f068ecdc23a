"""Feeds as people read them: what was understood of a list, what was refused, and how a feed does."""

from collections.abc import Mapping, Sequence
from typing import Any

import typer

from lowtide.cli.say import NOTHING, facts, money, plain, table, when

CLOSED = "closed"
_COUNTS = (
    ("entries", "in the list"),
    ("offers", "taken"),
    ("models", "different"),
)


def understood(offers: Sequence[Mapping[str, Any]], limit: int, of: int | None = None) -> None:
    """Offers that a list describes (the first of `of`), with their prices now in USD per million tokens."""
    table(
        ("model", "lane", "input", "output", "cached", "context", "over time"),
        [
            (
                _named(one),
                one["lane"],
                money((one["prices"] or {}).get("input_per_mtok")),
                money((one["prices"] or {}).get("output_per_mtok")),
                money((one["prices"] or {}).get("cached_input_per_mtok")),
                f"{one['context_window']:,}",
                _over_time(one),
            )
            for one in offers[:limit]
        ],
        right=("input", "output", "cached", "context"),
    )
    left = (of or len(offers)) - min(limit, len(offers))
    if left > 0:
        typer.echo(f"… and {left:,} more.")


def _named(one: Mapping[str, Any]) -> str:
    variant = f" [{one['variant']}]" if one["variant"] else ""
    upstream = "" if one["upstream_model"] == one["model"] else f" ({one['upstream_model']})"
    return f"{one['model']}{variant}{upstream}"


def _over_time(one: Mapping[str, Any]) -> str:
    """The next change of the price, how many follow it, and the step by length."""
    parts = [_next_change(one["quotes"], one["prices"] is not None)] if one["quotes"] else []
    left = one["quotes_count"] - (2 if one["prices"] is not None else 1)
    parts += [f"{left:,} more"] if left > 0 else []
    steps = (one["prices"] or {}).get("steps") or ()
    parts += [f"above {step['above_tokens']:,} tokens: another" for step in steps[:1]]
    return ", ".join(part for part in parts if part) or NOTHING


def _next_change(quotes: Sequence[Mapping[str, Any]], in_force: bool) -> str:
    """From the price in force to the next: until 10:45Z, then $1/$2. Empty where none follows."""
    if not in_force:
        return f"from {_clock(quotes[0]['valid_from'], None)} {_asked(quotes[0])}"
    first, *later = quotes
    closed = f"{CLOSED} " if _asked(first) == CLOSED else ""
    if not later:
        return closed.strip()
    ends, begins = first["valid_until"], later[0]["valid_from"]
    until = f"{closed}until {_clock(ends, first['valid_from'])}"
    if begins != ends:
        return f"{until}, from {_clock(begins, ends)} {_asked(later[0])}"
    return f"{until}, then {_asked(later[0])}"


def _asked(quote: Mapping[str, Any]) -> str:
    """What a quote asks, input/output; closed where it sells nothing."""
    if sold(quote["capacity"]) == CLOSED:
        return CLOSED
    prices = quote["prices"]
    return f"{money(prices['input_per_mtok'])}/{money(prices['output_per_mtok'])}"


def _clock(at: str, since: str | None) -> str:
    """A time to the minute, with its day where that is another than that of `since`."""
    day, clock = at[:10], f"{at[11:16]}Z"
    return clock if since is not None and since[:10] == day else f"{day[5:]} {clock}"


def sold(capacity: Mapping[str, Any] | None) -> str:
    """A capacity in words: 8 at once, 600 requests/min; closed where any limit is 0."""
    if capacity is None:
        return NOTHING
    if 0 in capacity.values():
        return CLOSED
    units = (
        ("concurrency", "at once"),
        ("requests_per_minute", "requests/min"),
        ("tokens_per_minute", "tokens/min"),
    )
    limits = [f"{capacity[name]:,} {unit}" for name, unit in units if capacity[name] is not None]
    return ", ".join(limits) or NOTHING


def ignored(fields: Sequence[str]) -> None:
    """Fields that nobody reads: a mistyped one is seen here."""
    if fields:
        typer.echo(f"Ignored fields: {', '.join(fields)}. docs/feeds.md lists those that are read.")


def refused(entries: Sequence[Mapping[str, Any]], count: int) -> None:
    """Entries that were not taken, with where they stand and why."""
    if not entries:
        return
    typer.echo(f"\n{count} {'entry was' if count == 1 else 'entries were'} refused:")
    for one in entries:
        typer.echo(f"  {one['pointer']}  {one['code']}: {one['message']}")
    if count > len(entries):
        typer.echo(f"  … and {count - len(entries)} more.")


def skipped(reasons: Mapping[str, int]) -> None:
    """Entries that are no business of the market's."""
    if reasons:
        listed = ", ".join(
            f"{count:,} {why}" for why, count in sorted(reasons.items(), key=lambda one: -one[1])
        )
        typer.echo(f"Passed over: {listed}.")


def show_feed(row: Mapping[str, Any]) -> None:
    """A feed with its health."""
    health = row["health"]
    facts(
        [
            ("id", row["id"]),
            ("provider", row["provider_id"]),
            ("kind", row["kind"]),
            ("state", row["state"]),
            *((name, plain(value)) for name, value in row["spec"].items() if value not in (None, [])),
            ("last success", when(health["last_success"])),
            ("lag", None if health["lag_s"] is None else f"{health['lag_s']} s"),
            ("failures", f"{health['failures']} in a row" if health["failures"] else None),
            ("read as", health["format"]),
            *((name, plain(health[name])) for name, _ in _COUNTS if health[name] is not None),
            ("quotes accepted", plain(health["quotes_accepted"])),
            ("quotes unchanged", plain(health["quotes_unchanged"])),
            ("quotes held back", plain(health["quotes_held_back"])),
            ("quotes refused", plain(health["quotes_refused"])),
            ("priced elsewhere", plain(health["reference_only"]) if health["reference_only"] else None),
            ("quotes lapse", None if health["valid_until"] is None else when(health["valid_until"])),
            ("next run", when(row["due_at"])),
            ("closed", None if row["closed_at"] is None else when(row["closed_at"])),
        ]
    )
    for note in health["held_back"]:
        typer.echo(f"held back: {note}")
    refused(health["refused"], health["quotes_refused"] or len(health["refused"]))
    if health["errors"]:
        typer.echo("\nErrors, the latest first:")
        for one in health["errors"]:
            typer.echo(f"  {when(one['at'])}  {one['code']}: {one['message']}")


def show_read(row: Mapping[str, Any], limit: int) -> None:
    """A feed that was just read."""
    health = row["health"]
    if row["kind"] == "live":
        typer.echo(f"Feed {row['id']} is registered: its bidder is asked for each task that its offers fit.")
        typer.echo(f"It signs its requests with {row['secret']}, which is shown only here.")
        return
    typer.echo(
        f"Feed {row['id']} was read: {health['offers'] or 0:,} offers, {health['quotes_accepted'] or 0:,} quotes taken, "
        f"{health['quotes_unchanged'] or 0:,} unchanged (book version {row['book_version']})."
    )
    if row["understood"]:
        understood(row["understood"], limit, health["offers"])
    if health["reference_only"]:
        typer.echo(
            f"{health['reference_only']:,} of these offers are priced by another source, whose quotes count: "
            f"`lowtide offers source OFFER {row['id']}` changes that."
        )
    ignored(row["ignored"])
    for warning in row["warnings"]:
        typer.echo(f"Warning: {warning}")
    skipped(health["skipped"])
    for note in health["held_back"]:
        typer.echo(f"held back: {note}")
    refused(health["refused"], health["quotes_refused"] or 0)
