"""The program `lowtide`. Commands import what is heavy only when they run, so that --help answers at once."""

import sys
from typing import Annotated

import typer

from lowtide.cli import (
    auctions,
    backtest,
    demo,
    doctor,
    feeds,
    keys,
    migrate,
    offer_quotes,
    offers,
    providers,
    savings,
    serve,
    tasks,
)
from lowtide.cli.say import complain
from lowtide.values.errors import MarketError

app = typer.Typer(
    name="lowtide",
    rich_markup_mode=None,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A self-hosted spot market for AI work. Start with `lowtide serve`, then see `lowtide doctor`.",
)
app.command("demo")(demo.demo)
app.command("serve")(serve.serve)
app.command("migrate")(migrate.migrate)
app.command("doctor")(doctor.doctor)
app.command("savings")(savings.savings)
app.command("backtest")(backtest.backtest)
app.add_typer(keys.app, name="keys")
app.add_typer(providers.app, name="providers")
for _name, _command in offer_quotes.COMMANDS.items():
    offers.app.command(_name)(_command)
app.add_typer(offers.app, name="offers")
app.add_typer(feeds.app, name="feeds")
app.add_typer(tasks.app, name="tasks")
app.add_typer(auctions.app, name="auctions")


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"lowtide {version('lowtide')}")
        raise typer.Exit


@app.callback()
def _root(
    _show: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """A self-hosted spot market for AI work."""


def main() -> None:
    """Run the program. Exit 0 on success, 2 for a wrong call, 1 for a failure with one plain line."""
    try:
        app(prog_name="lowtide")
    except MarketError as fault:
        complain(fault)
        sys.exit(1)
