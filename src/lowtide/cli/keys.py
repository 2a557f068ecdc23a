"""`lowtide keys`: directly on the database, with or without a running service."""

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lowtide.cli import local
from lowtide.cli.options import DatabaseUrl, group
from lowtide.cli.say import CommandFailed, plain, table, when
from lowtide.cli.times import moment

if TYPE_CHECKING:
    from lowtide.store.database import Database

app = group("Make, list and revoke API keys, directly on the database.")
_AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class Role(StrEnum):
    """What a key may do."""

    REQUESTER = "requester"
    PROVIDER = "provider"
    AUDITOR = "auditor"
    OPERATOR = "operator"


@app.command("create")
def create(
    role: Annotated[Role, typer.Option(help="What the key may do.")] = Role.REQUESTER,
    name: Annotated[str, typer.Option(help="A name to know it by.")] = "",
    account: Annotated[str, typer.Option(help="The account that pays: its id or name.")] = "default",
    provider: Annotated[
        str | None, typer.Option(help="Of role provider: whose offers it manages, by id or name.")
    ] = None,
    expires: Annotated[
        str | None, typer.Option(help="When it ends: a time with its zone, or from now on, such as +30d.")
    ] = None,
    database: DatabaseUrl = None,
    as_json: _AsJson = False,
) -> None:
    """Make a key. It is printed once and kept nowhere: the database has its hash.

    Example: lowtide keys create --role requester --name support-team --expires +30d
    """
    body = {"role": role.value, "name": name, "expires_at": None if expires is None else moment(expires)}
    made = local.on_database(database, lambda found: _create(found, body, account, provider), make=True)
    if as_json:
        typer.echo(json.dumps(made))
        return
    typer.echo(f"Key {made['id']} of role {made['role']}, shown once:")
    typer.echo(f"  export LOWTIDE_KEY={made['key']}")


@app.command("list")
def list_(database: DatabaseUrl = None, as_json: _AsJson = False) -> None:
    """List keys, without their secrets.

    Example: lowtide keys list
    """
    found = local.on_database(database, _list)
    if as_json:
        typer.echo(json.dumps({"data": found, "next": None}))
        return
    table(
        ("id", "role", "name", "key", "expires", "revoked"),
        [
            (
                str(key["id"]),
                str(key["role"]),
                plain(key["name"]),
                str(key["shown"]),
                when(key["expires_at"]),
                when(key["revoked_at"]),
            )
            for key in found
        ],
        empty="Make one with `lowtide keys create`.",
    )


@app.command("revoke")
def revoke(
    key_id: Annotated[str, typer.Argument(help="The key's id, as `lowtide keys list` shows it.")],
    database: DatabaseUrl = None,
) -> None:
    """Revoke a key: it stops working at once.

    Example: lowtide keys revoke key_01abc…
    """
    if not local.on_database(database, lambda found: _revoke(found, key_id)):
        raise CommandFailed(f"No key {key_id} that still works. List them with `lowtide keys list`.")
    typer.echo(f"Key {key_id} is revoked.")


async def _create(
    database: "Database", body: dict[str, Any], account: str, provider: str | None
) -> dict[str, Any]:
    from pydantic import ValidationError

    from lowtide.api import views
    from lowtide.api.auth import new_key
    from lowtide.api.bodies import NewKey
    from lowtide.api.problems import invalid
    from lowtide.api.routes.accounts import key_row
    from lowtide.store import accounts
    from lowtide.values.clock import SystemClock
    from lowtide.values.instants import micros

    now, secret = micros(SystemClock().now()), new_key()
    if (provider is None) == (body["role"] == "provider"):
        raise typer.BadParameter("--provider goes with --role provider: name whose offers the key manages.")
    await database.writer.write(lambda conn: accounts.ensure_default_account(conn, now))
    try:
        wanted = NewKey.model_validate(
            body
            | {
                "account_id": await _account_id(database, account),
                "provider_id": None if provider is None else await _provider_id(database, provider),
            }
        )
    except ValidationError as fault:
        raise invalid([{**error, "loc": ("body", *error["loc"])} for error in fault.errors()]) from None
    row = key_row(wanted, secret, now)
    await database.writer.write(lambda conn: accounts.add_key(conn, row.model_dump()))
    return views.key(row, secret)


async def _account_id(database: "Database", name: str) -> str:
    from lowtide.store import accounts

    async with database.read() as conn:
        if await accounts.get_account(conn, name) is not None:
            return name
        last = ""
        while page := await accounts.list_accounts(conn, last, 200):
            for row in page:
                if row.name == name:
                    return row.id
            last = page[-1].id
    raise CommandFailed(f"No account {name}. The one that is always there is `default`.")


async def _provider_id(database: "Database", name: str) -> str:
    from lowtide.store import providers

    async with database.read() as conn:
        row = await providers.get_provider(conn, name) or await providers.provider_by_name(conn, name)
    if row is None:
        raise CommandFailed(f"No provider {name}. List them with `lowtide providers list`.")
    return row.id


async def _list(database: "Database") -> list[dict[str, Any]]:
    from lowtide.api import views
    from lowtide.store import accounts

    found, last = [], ""
    async with database.read() as conn:
        while page := await accounts.list_keys(conn, after=last, limit=200):
            found += [views.key(row) for row in page]
            last = page[-1].id
    return found


async def _revoke(database: "Database", key_id: str) -> bool:
    from lowtide.store import accounts
    from lowtide.values.clock import SystemClock
    from lowtide.values.instants import micros

    now = micros(SystemClock().now())
    return await database.writer.write(lambda conn: accounts.revoke_key(conn, key_id, now))
