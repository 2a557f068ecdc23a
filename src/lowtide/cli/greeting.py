"""What `lowtide serve` says when it is up."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import typer

from lowtide.cli.local import shown
from lowtide.cli.options import DEFAULT_URL
from lowtide.cli.say import facts

if TYPE_CHECKING:
    from lowtide.app import Running, Settings
    from lowtide.feeds.providers import ProviderConfig

_EVERYWHERE = ("0.0.0.0", "::", "")


def address(host: str, port: int) -> str:
    """The URL under which a browser on this machine finds the service."""
    if host in _EVERYWHERE:
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def greet(settings: "Settings", running: "Running", url: str) -> None:
    """Address, database, who sells, what is in the book, what was recovered, and a key that was just made."""
    from lowtide.feeds.providers import load_providers

    book = running.market.keeper.book
    configs = load_providers(settings.config / "providers")
    sold = [row.offer for row in book.rows if not row.offer.withdrawn]
    live, off = sorted_by_life(configs, settings.environment)
    registered = sorted({offer.provider for offer in sold} - {config.name for config in configs})
    typer.echo(f"Lowtide is open at {url}")
    everywhere = "every address of this machine" if settings.host in _EVERYWHERE else None
    facts(
        [
            ("  Listens", everywhere),
            ("  Docs", f"{url}/docs"),
            ("  Database", shown(settings.database_url)),
            (
                "  Book",
                f"{len(sold)} offers of {len({o.model for o in sold})} models (version {book.version})",
            ),
            ("  Providers", ", ".join([*live, *registered]) or "none yet"),
            ("  Not live", "\n".join(off) or None),
            ("  Recovered", _recovered(running.recovered)),
        ]
    )
    if not sold:
        typer.echo(
            "Nobody sells here yet: set a variable above and start again, or register a provider with "
            "`lowtide providers add`."
        )
    if running.made_key is not None:
        typer.echo("An operator key was made for you. It is shown once, so keep it:")
        typer.echo(f"  export LOWTIDE_KEY={running.made_key}")
    if url != DEFAULT_URL:
        typer.echo("Other commands find this market by its address:")
        typer.echo(f"  export LOWTIDE_URL={url}")
    typer.echo("Stop with Ctrl-C.")


def sorted_by_life(
    configs: Sequence["ProviderConfig"], env: Mapping[str, str]
) -> tuple[list[str], list[str]]:
    """The names of the providers that are live, and a line for each other on what would make it so."""
    from lowtide.feeds.providers import live

    names = [config.name for config in configs if live(config, env)]
    return names, [f"{config.name}: set {remedy(config)}" for config in configs if not live(config, env)]


def remedy(config: "ProviderConfig") -> str:
    """The variables of which one makes a provider live."""
    if config.base_url_env is not None:
        return f"{config.base_url_env} (such as {config.base_url})"
    return " or ".join(config.credential_env)


def _recovered(count: int) -> str | None:
    return f"{count} task{'s' if count != 1 else ''} that a stopped service had left" if count else None
