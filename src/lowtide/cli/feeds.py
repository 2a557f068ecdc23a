"""`lowtide feeds`."""

from typing import Annotated

import typer

from lowtide.cli.options import DEFAULT_URL, After, AsJson, Key, Limit, Url, group
from lowtide.cli.say import facts, more, plain, table, when
from lowtide.cli.service import Service, every

app = group("Where prices come from, and how each source does.")


@app.command("list")
def list_(
    url: Url = DEFAULT_URL,
    key: Key = None,
    limit: Limit = 50,
    after: After = None,
    as_json: AsJson = False,
) -> None:
    """List feeds.

    Example: lowtide feeds list
    """
    service = Service(url, key)
    page = service.get("/v1/feeds", limit=limit, after=after)
    if as_json:
        typer.echo(page.text)
        return
    names = {row["id"]: row["name"] for row in every(service, "/v1/providers")}
    table(
        ("id", "provider", "kind", "last success", "accepted", "refused"),
        [
            (
                row["id"],
                names.get(row["provider_id"], row["provider_id"]),
                row["kind"],
                when(row["health"].get("last_success")),
                plain(row["health"].get("quotes_accepted")),
                plain(row["health"].get("quotes_refused")),
            )
            for row in page.data["data"]
        ],
        right=("accepted", "refused"),
        empty="A provider of config/providers with a catalog or a tariff has one; see `lowtide doctor` for what is live.",
    )
    more(page.data)


@app.command("show")
def show(
    feed: Annotated[str, typer.Argument(help="Its id.")],
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Show a feed's health.

    Example: lowtide feeds show feed_01abc…
    """
    found = Service(url, key).get(f"/v1/feeds/{feed}")
    if as_json:
        typer.echo(found.text)
        return
    row = found.data
    health = row["health"]
    facts(
        [
            ("id", row["id"]),
            ("provider", row["provider_id"]),
            ("kind", row["kind"]),
            *((name, plain(value)) for name, value in row["spec"].items()),
            ("last success", when(health.get("last_success"))),
            ("quotes accepted", plain(health.get("quotes_accepted"))),
            ("quotes refused", plain(health.get("quotes_refused"))),
            ("errors", plain(health.get("errors"))),
            ("next run", when(row["due_at"])),
        ]
    )
