"""Options that many commands share."""

from typing import Annotated

import typer

Url = Annotated[str, typer.Option("--url", envvar="LOWTIDE_URL", help="The market's address.")]
Key = Annotated[
    str | None,
    typer.Option(
        "--key",
        envvar=["LOWTIDE_KEY", "LOWTIDE_OPERATOR_KEY"],
        show_default=False,
        help="Your API key.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the API's JSON as it came.")]
Limit = Annotated[int, typer.Option(min=1, max=200, help="How many to give.")]
After = Annotated[str | None, typer.Option(help="The cursor that the page before ended with.")]
DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        "--database",
        envvar="LOWTIDE_DATABASE_URL",
        help="sqlite:///FILE or postgresql://USER@HOST/NAME. [default: sqlite:///var/lowtide.db]",
    ),
]
DEFAULT_URL = "http://127.0.0.1:8080"


def group(text: str) -> typer.Typer:
    """A group of commands."""
    return typer.Typer(rich_markup_mode=None, no_args_is_help=True, help=text)
