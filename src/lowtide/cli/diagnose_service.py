"""Whether the running market answers, takes the key, and has prices."""

import os
from typing import Any

from lowtide.cli.findings import Finding, Serving
from lowtide.cli.options import DEFAULT_URL
from lowtide.cli.say import CommandFailed
from lowtide.cli.service import Service, every

_NAMED = 5


def check_service(url: str, key: str | None) -> tuple[list[Finding], Serving | None]:
    """The service at a URL, then the key, then the offers; and the book that it serves, where it answers."""
    try:
        service = Service(url, key)
        alive = b"".join(service.chunks("/healthz")) == b"ok"
        ready = service.get("/readyz").data
    except CommandFailed as fault:
        expected = url != DEFAULT_URL or bool(os.environ.get("LOWTIDE_URL"))
        missing = fault.code == "no_market" and not expected
        state: Any = "unset" if missing else "broken"
        return [Finding("service", state, fault.detail)], None
    if not alive:
        stranger = f"what answers at {url} is no market"
        return [Finding("service", "broken", stranger, "check LOWTIDE_URL")], None
    up = Finding("service", "ok", f"{url} is ready with book version {ready['book_version']}")
    try:
        book = service.get("/v1/book").data
    except CommandFailed as fault:
        return [up, _refused(fault)], Serving(url, ready["book_version"], None)
    taken = Finding("key", "ok", "the service takes it")
    found = [up, taken, _offers(book["data"]), _feeds(list(every(service, "/v1/feeds")))]
    return found, Serving(url, book["book_version"], book["digest"])


def _refused(fault: CommandFailed) -> Finding:
    if fault.code == "no_key":
        return Finding("key", "unset", "none is set", "Set LOWTIDE_KEY; `lowtide keys create` makes one")
    return Finding("key", "broken", fault.detail, "lowtide keys create")


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


def _feeds(feeds: list[dict[str, Any]]) -> Finding:
    """How the sources of prices do; those that fail or are silent by name."""
    open_ = [feed for feed in feeds if feed["state"] != "closed"]
    if not open_:
        return Finding("feeds", "unset", "none is registered", "lowtide feeds add")
    counts = ", ".join(
        f"{sum(1 for feed in open_ if feed['state'] == state)} {state}"
        for state in ("ok", "failing", "silent")
    )
    ill = sorted(
        (feed for feed in open_ if feed["state"] != "ok"), key=lambda feed: feed["state"] != "silent"
    )
    if not ill:
        return Finding("feeds", "ok", counts)
    named = ", ".join(f"{feed['id']} ({feed['kind']}, {feed['state']})" for feed in ill[:_NAMED])
    more = f" and {len(ill) - _NAMED} more" if len(ill) > _NAMED else ""
    return Finding("feeds", "broken", f"{counts}: {named}{more}", f"lowtide feeds show {ill[0]['id']}")
