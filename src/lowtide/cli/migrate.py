"""`lowtide migrate`."""

from typing import Annotated

import typer

from lowtide.cli import local
from lowtide.cli.options import DatabaseUrl


def migrate(
    database: DatabaseUrl = None,
    check: Annotated[bool, typer.Option("--check", help="Only say what is pending; change nothing.")] = False,
) -> None:
    """Bring the database to this program's schema. `lowtide serve` does so by itself.

    Example: lowtide migrate --check
    """
    url = local.settings(database).database_url
    name = local.shown(url)
    from lowtide.store import migrate as migrations

    if check and not local.exists(url):
        typer.echo(f"There is no database at {name} yet; `lowtide migrate` or `lowtide serve` makes it.")
        return
    waiting = local.run(migrations.pending(url))
    if not waiting:
        typer.echo(f"{name} is up to date.")
    elif check:
        typer.echo(f"Pending on {name}: {', '.join(waiting)}. Run `lowtide migrate`.")
    else:
        local.run(migrations.upgrade(url))
        typer.echo(f"{name} is migrated: {', '.join(waiting)}.")
