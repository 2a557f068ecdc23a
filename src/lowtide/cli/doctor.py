"""`lowtide doctor`."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer

from lowtide.cli import local
from lowtide.cli.findings import Finding
from lowtide.cli.options import DEFAULT_URL, DatabaseUrl, Key, Url
from lowtide.values.errors import SetupError


def doctor(
    url: Url = DEFAULT_URL,
    key: Key = None,
    database: DatabaseUrl = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """What is set up, what answers, what is missing, and how to mend each. Exit 1 where something is broken.

    Example: lowtide doctor
    """
    found = diagnose(url, key, database)
    broken = any(finding.state == "broken" for finding in found)
    if as_json:
        typer.echo(json.dumps({"healthy": not broken, "checks": [asdict(finding) for finding in found]}))
    else:
        _show(found, broken=broken)
    if broken:
        raise typer.Exit(1)


def diagnose(url: str, key: str | None, database: str | None) -> list[Finding]:
    """Every check, in the order in which a user would mend things."""
    from lowtide.cli.diagnose_database import check_database
    from lowtide.cli.diagnose_files import check_files
    from lowtide.cli.diagnose_service import check_service

    try:
        settings = local.settings(database)
    except SetupError as fault:
        return [Finding("settings", "broken", fault.detail), *check_service(url, key)[0]]
    service, serving = check_service(url, key)
    return [
        *check_files(settings),
        *local.run(check_database(settings.database_url, serving)),
        *service,
    ]


def _show(found: Sequence[Finding], *, broken: bool) -> None:
    marks = {"ok": "ok    ", "unset": "unset ", "broken": "BROKEN"}
    width = max(len(finding.check) for finding in found)
    for finding in found:
        typer.echo(f"{marks[finding.state]}  {finding.check:<{width}}  {finding.detail}")
        if finding.mend is not None:
            first, *others = finding.mend.splitlines()
            typer.echo(f"{'':6}  {'':<{width}}  -> {first}")
            for line in others:
                typer.echo(f"{'':6}  {'':<{width}}     {line}")
    typer.echo("\nSomething is broken." if broken else "\nNothing is broken.")
