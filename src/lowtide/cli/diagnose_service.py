"""Whether the running market answers, takes the key, and has prices."""

import os
from typing import Any

from lowtide.cli.findings import Finding
from lowtide.cli.options import DEFAULT_URL
from lowtide.cli.say import CommandFailed
from lowtide.cli.service import Service


def check_service(url: str, key: str | None) -> list[Finding]:
    """The service at a URL, then the key, then the offers."""
    try:
        service = Service(url, key)
        alive = b"".join(service.chunks("/healthz")) == b"ok"
        ready = service.get("/readyz").data
    except CommandFailed as fault:
        expected = url != DEFAULT_URL or bool(os.environ.get("LOWTIDE_URL"))
        missing = fault.code == "no_market" and not expected
        state: Any = "unset" if missing else "broken"
        return [Finding("service", state, fault.detail)]
    if not alive:
        return [Finding("service", "broken", f"what answers at {url} is no market", "check LOWTIDE_URL")]
    up = Finding("service", "ok", f"{url} is ready with book version {ready['book_version']}")
    try:
        asks = service.get("/v1/book").data["data"]
    except CommandFailed as fault:
        if fault.code == "no_key":
            return [
                up,
                Finding("key", "unset", "none is set", "Set LOWTIDE_KEY; `lowtide keys create` makes one"),
            ]
        return [up, Finding("key", "broken", fault.detail, "lowtide keys create")]
    return [up, Finding("key", "ok", "the service takes it"), _offers(asks)]


def _offers(asks: list[dict[str, Any]]) -> Finding:
    priced = sum(1 for ask in asks if ask["prices"] is not None)
    models = len({ask["model"] for ask in asks})
    if not asks:
        return Finding(
            "offers",
            "unset",
            "the market has none",
            "set a provider's key and restart the service, or `lowtide providers add` and `lowtide offers add`",
        )
    if not priced:
        return Finding(
            "offers", "broken", f"none of {len(asks)} has a valid quote now", "lowtide offers quote OFFER …"
        )
    return Finding("offers", "ok", f"{priced} of {len(asks)} have a valid quote now ({models} models)")
