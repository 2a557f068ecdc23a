"""The command line as a user meets it: help, wrong calls, and what needs no service."""

import subprocess
import sys
import time
from collections.abc import Iterator

import click
import pytest
from typer.main import get_command
from typer.testing import CliRunner, Result

from lowtide.cli import app

NO_MARKET = "http://127.0.0.1:1"


def run(*words: str) -> Result:
    return CliRunner().invoke(app, words, env={"LOWTIDE_KEY": "", "LOWTIDE_OPERATOR_KEY": ""}, input="")


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*path, name))


EVERY = list(commands(get_command(app)))


@pytest.mark.parametrize("path", EVERY, ids=" ".join)
def test_every_command_has_help_and_each_that_does_something_an_example(path: tuple[str, ...]):
    result = run(*path, "--help")
    assert result.exit_code == 0
    assert result.stdout.startswith("Usage: ")
    is_group = any(other[: len(path)] == path and other != path for other in EVERY)
    assert is_group or "Example: " in result.stdout


@pytest.mark.parametrize(
    "call",
    [
        "sell",
        "serve --port seventy",
        "serve --port 70000",
        "keys create --role king",
        "keys revoke",
        "providers add north",
        "offers add --provider north",
        "offers quote off_1",
        "offers quote off_1 --input 0.25",
        "offers quote off_1 --input 1 --output 1 --from tomorrow",
        "offers quote off_1 --input 1 --output 1 --from 2026-11-24T06:00:00",
        "offers quote off_1 --input 1 --curve prices.json",
        "offers list --limit 0",
        "tasks submit",
        "tasks submit hello --file hello.txt",
        "tasks submit hello --within soon",
        "tasks submit hello --within 2h --complete-by +2h",
        "tasks submit hello --label team",
        "auctions why auc_1",
    ],
)
def test_a_wrong_call_exits_2_with_a_line_that_says_what_is_wrong(call: str):
    result = run(*call.split(), *(["--url", NO_MARKET] if call.startswith(("offers", "tasks")) else []))
    assert result.exit_code == 2
    assert "Error: " in result.stderr
    assert "Traceback" not in result.stderr


def test_help_answers_before_anything_heavy_is_imported():
    code = (
        "import sys; import lowtide.cli; "
        "print([m for m in ('fastapi', 'sqlalchemy', 'numpy', 'httpx', 'pydantic', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def program(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lowtide", *words], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )


def test_without_a_market_a_command_fails_with_one_plain_line():
    began = time.monotonic()
    done = program("tasks", "list", "--url", NO_MARKET)
    assert done.returncode == 1
    assert done.stderr == f"No market answers at {NO_MARKET}. Start one with `lowtide serve`.\n"
    assert done.stdout == ""
    assert time.monotonic() - began < 20


def test_an_address_that_is_none_is_a_failure_in_plain_words():
    done = program("tasks", "list", "--url", "localhost")
    assert done.returncode == 1
    assert done.stderr.startswith("localhost is no address of a market.")
