"""`lowtide providers`."""

from typing import Annotated, Any

import typer

from lowtide.cli.options import DEFAULT_URL, After, AsJson, Key, Limit, Url, group
from lowtide.cli.say import facts, more, plain, table, when
from lowtide.cli.service import Service, provider_id

app = group("Who sells on the market.")


@app.command("list")
def list_(
    url: Url = DEFAULT_URL,
    key: Key = None,
    limit: Limit = 50,
    after: After = None,
    as_json: AsJson = False,
) -> None:
    """List providers.

    Example: lowtide providers list
    """
    page = Service(url, key).get("/v1/providers", limit=limit, after=after)
    if as_json:
        typer.echo(page.text)
        return
    table(
        ("id", "name", "wire", "address", "source"),
        [(row["id"], row["name"], row["wire"], row["base_url"], row["source"]) for row in page.data["data"]],
        empty="Register one with `lowtide providers add`, or set the key of one that `lowtide doctor` names.",
    )
    more(page.data)


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="A short name, such as north.")],
    base_url: Annotated[str, typer.Option(help="Where its API stands, such as https://api.openai.com/v1.")],
    wire: Annotated[str, typer.Option(help="The API that it speaks.")] = "openai",
    credential_env: Annotated[
        list[str] | None,
        typer.Option(
            help="The service's environment variable that holds a key of it; repeat for several.",
            show_default=False,
        ),
    ] = None,
    discount: Annotated[float, typer.Option(help="Negotiated discount, a fraction such as 0.15.")] = 0.0,
    batch_wire: Annotated[
        str | None,
        typer.Option(
            help="The batch API that it has: openai or anthropic. [default: none]", show_default=False
        ),
    ] = None,
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Register a provider (operators). Its keys stay in the service's environment; name the variables here.

    Example: lowtide providers add north --base-url https://api.north.example/v1 --credential-env NORTH_KEY
    """
    body = {
        "name": name,
        "wire": wire,
        "base_url": base_url,
        "credential_env": credential_env or [],
        "discount": discount,
        "batch_wire": batch_wire,
    }
    made = Service(url, key).post("/v1/providers", body)
    if as_json:
        typer.echo(made.text)
        return
    typer.echo(f"Provider {name} is registered: {made.data['id']}")
    typer.echo(f"Next, list what it sells: lowtide offers add --provider {name} --model MODEL")
    typer.echo(f"or let its prices come by themselves: lowtide feeds add {name} --poll URL")


@app.command("show")
def show(
    provider: Annotated[str, typer.Argument(help="Its id or name.")],
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Show a provider.

    Example: lowtide providers show north
    """
    service = Service(url, key)
    found = service.get(f"/v1/providers/{provider_id(service, provider)}")
    if as_json:
        typer.echo(found.text)
        return
    facts(_facts(found.data))


def _facts(row: dict[str, Any]) -> list[tuple[str, str | None]]:
    return [
        ("id", row["id"]),
        ("name", row["name"]),
        ("wire", row["wire"]),
        ("address", row["base_url"]),
        ("credentials", plain(row["credential_env"])),
        ("discount", plain(row["discount"])),
        ("source", row["source"]),
        ("simulated", "yes: a simulator answers, not a model" if row["simulated"] else None),
        ("registered", when(row["created_at"])),
    ]
