"""Offers and quotes as people read them."""

from collections.abc import Mapping, Sequence
from typing import Any

from lowtide.cli.say import NOTHING, WIDTH, CommandFailed, money, plain, table, when
from lowtide.cli.service import Service


def show_offers(offers: Sequence[dict[str, Any]], asks: Sequence[dict[str, Any]]) -> None:
    """Offers with their price now, as the book's asks have it."""
    prices = {ask["offer_id"]: ask for ask in asks}
    table(
        ("id", "offer", "input", "output", "until"),
        [_line(offer, prices.get(offer["id"])) for offer in offers],
        right=("input", "output"),
        empty="Register a seller with `lowtide providers add`, then list what it sells with `lowtide offers add`.",
    )


def named(offer: Mapping[str, Any]) -> str:
    """An offer as people know it: provider and model, with a variant and a lane that is not the standard one."""
    variant = f" [{offer['variant']}]" if offer.get("variant") else ""
    lane = "" if offer["lane"] == "standard" else f" ({offer['lane']})"
    return f"{offer['provider']} {offer['model']}{variant}{lane}"


class OfferNames:
    """Names of offers by id, each asked of the market once."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._known: dict[str, str] = {}

    def __call__(self, offer_id: str, fallback: str) -> str:
        """The name of an offer; `fallback` where the market does not tell it."""
        if offer_id not in self._known:
            try:
                self._known[offer_id] = named(self._service.get(f"/v1/offers/{offer_id}").data)
            except CommandFailed as fault:
                if fault.code == "no_market":
                    raise
                self._known[offer_id] = fallback
        return self._known[offer_id]


def _line(offer: dict[str, Any], ask: dict[str, Any] | None) -> tuple[str, ...]:
    found = (ask or {}).get("prices") or {}
    until = "withdrawn" if offer["withdrawn_at"] else "no price" if not found else _until(ask)
    return (
        offer["id"],
        named(offer),
        money(found.get("input_per_mtok")),
        money(found.get("output_per_mtok")),
        until,
    )


def _until(ask: dict[str, Any] | None) -> str:
    end = (ask or {}).get("valid_until")
    return "replaced" if end is None else when(end)


def quote_table(quotes: Sequence[dict[str, Any]], *, ids: bool = False) -> None:
    """Quotes, one a line; with `ids` those by which they are confirmed and cancelled."""
    columns = ("from", "until", "input", "output", "per request", "sequence", "note")
    table(
        ("id", *columns) if ids else columns,
        [(quote["id"], *_quote_line(quote)) if ids else _quote_line(quote) for quote in quotes],
        right=("input", "output", "per request", "sequence"),
        width=140 if ids else WIDTH,
    )


def _quote_line(quote: dict[str, Any]) -> tuple[str, ...]:
    prices, places = quote["prices"] or {}, quote["capacity"] or {}
    notes = ["held back"] if quote["quarantined"] else []
    notes += [f"firm until {when(quote['firm_until'])}"] if quote["firm_until"] else []
    notes += [f"{value} {name.replace('_', ' ')}" for name, value in places.items() if value is not None]
    return (
        when(quote["valid_from"]),
        "replaced" if quote["valid_until"] is None else when(quote["valid_until"]),
        money(prices.get("input_per_mtok")),
        money(prices.get("output_per_mtok")),
        money(prices.get("per_request")),
        plain(quote["sequence"]),
        ", ".join(notes),
    )


def listing_facts(offer: dict[str, Any]) -> list[tuple[str, str | None]]:
    """What an offer says of itself."""
    capacity, latency = offer["capacity"], offer["latency"]
    limits = [f"{value} {name.replace('_', ' ')}" for name, value in capacity.items() if value is not None]
    speeds = [f"{name} {value}" for name, value in latency.items() if value is not None]
    claims = [f"{c['domain']} {c['quality']} ({c['sample_size']} samples)" for c in offer["quality_claims"]]
    return [
        ("id", offer["id"]),
        ("provider", offer["provider"]),
        ("model", offer["model"]),
        ("upstream", offer["upstream_model"] if offer["upstream_model"] != offer["model"] else None),
        ("lane", offer["lane"]),
        ("variant", offer["variant"] or None),
        ("modalities", plain(offer["modalities"])),
        ("features", plain(offer["features"])),
        ("context", f"{offer['context_window']} tokens, up to {offer['max_output_tokens']} of output"),
        ("regions", plain(offer["regions"])),
        ("retention", "none" if offer["zero_retention"] else None),
        ("capacity", ", ".join(limits) or "unlimited until a 429"),
        ("latency claim", ", ".join(speeds) or NOTHING),
        ("quality claim", ", ".join(claims) or NOTHING),
        ("price source", plain(offer["price_source"])),
        ("withdrawn", None if offer["withdrawn_at"] is None else when(offer["withdrawn_at"])),
    ]
