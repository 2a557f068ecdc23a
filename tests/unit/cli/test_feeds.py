"""What `lowtide feeds try` says of lists and tariffs, without a market."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from lowtide.cli import app
from lowtide.values.errors import MarketError

AT = "2026-11-25T09:00:00Z"
NIGHT = """
zone = "UTC"
[[windows]]
start = "22:00"
end = "06:00"
multiplier = "0.5"
"""


def tried(source: object, *words: str) -> Result:
    return CliRunner().invoke(app, ["feeds", "try", str(source), "--at", AT, *words])


def complaint(result: Result) -> str:
    """The line that a command ends with; the program prints what it raises."""
    assert isinstance(result.exception, MarketError)
    return result.exception.detail


def prices(amount: str) -> dict[str, str]:
    return {"input_per_mtok": amount, "output_per_mtok": amount}


@pytest.fixture
def written(tmp_path: Path):
    def write(name: str, content: Any) -> Path:
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


def listed(**model: Any) -> dict[str, Any]:
    return {"format": "lowtide/1", "currency": "USD", "models": [{"model": "m", **model}]}


def test_the_next_price_is_told_with_the_hour_at_which_it_comes(written):
    curve = [
        {"prices": prices("2"), "valid_until": "2026-11-25T10:45:00Z"},
        {"prices": prices("1"), "valid_from": "2026-11-25T10:45:00Z", "valid_until": "2026-11-25T12:00:00Z"},
        {"prices": prices("3"), "valid_from": "2026-11-25T12:00:00Z"},
    ]
    shown = " ".join(tried(written("a.json", listed(curve=curve))).stdout.split())
    assert "until 10:45Z, then $1/$1, 1 more" in shown


def test_a_price_that_begins_later_ends_before_the_next_or_is_closed_is_told_so(written):
    later = [{"prices": prices("1"), "valid_from": "2026-11-25T10:45:00Z"}]
    assert "from 11-25 10:45Z $1/$1" in " ".join(tried(written("a.json", listed(curve=later))).stdout.split())
    shut = [
        {"prices": prices("1"), "valid_until": "2026-11-25T10:00:00Z"},
        {
            "prices": prices("1"),
            "valid_from": "2026-11-26T08:00:00Z",
            "capacity": {"concurrency": 0},
        },
    ]
    shown = " ".join(tried(written("b.json", listed(curve=shut))).stdout.split())
    assert "until 10:00Z, from 11-26 08:00Z closed" in shown


def test_a_price_that_does_not_change_says_nothing_of_time(written):
    assert "until" not in tried(written("a.json", listed(prices=prices("1")))).stdout


def test_fields_that_nobody_reads_are_named(written):
    document = listed(prices=prices("1"), quality="0.9", latency_ms=5)
    assert "Ignored fields: quality, latency_ms." in tried(written("a.json", document)).stdout
    assert "Ignored" not in tried(written("b.json", listed(prices=prices("1")))).stdout


def test_the_data_has_each_price_with_its_interval_and_capacity(written):
    curve = [{"prices": prices("1"), "valid_from": "2026-11-25T10:00:00Z", "capacity": {"concurrency": 8}}]
    found = json.loads(tried(written("a.json", listed(curve=curve)), "--json").stdout)
    (offer,) = found["understood"]
    assert offer["quotes_count"] == 1
    assert offer["quotes"][0]["valid_from"] == "2026-11-25T10:00:00Z"
    assert offer["quotes"][0]["prices"]["input_per_mtok"] == "1"
    assert offer["quotes"][0]["capacity"]["concurrency"] == 8


def test_a_tariff_shows_its_capacity_where_a_window_has_one(written):
    closed = NIGHT + "capacity = { concurrency = 0 }\n"
    some = (
        closed
        + '[[windows]]\nstart = "12:00"\nend = "13:00"\nmultiplier = "1"\ncapacity = { concurrency = 8 }\n'
    )
    shown = tried(written("some.toml", some)).stdout
    assert "capacity" in shown
    assert "closed" in shown
    assert "8 at once" in shown
    assert "capacity" not in tried(written("none.toml", NIGHT)).stdout


def test_a_tariff_that_is_no_toml_says_where(written):
    said = complaint(tried(written("x.toml", "zone = = 1")))
    assert "x.toml is not TOML: " in said
    assert "(at line 1, column 8)" in said


def test_a_tariff_without_its_clock_is_told_what_is_missing(written):
    assert "zone is missing" in complaint(tried(written("x.toml", NIGHT.replace('zone = "UTC"', ""))))


def test_what_is_neither_a_file_nor_http_is_told_so():
    said = complaint(tried("ftp://acme.example/prices"))
    assert "ftp://acme.example/prices is neither a file nor a URL of http or https." in said


def test_a_list_without_prices_takes_those_that_are_given(written):
    source = written("models.json", {"data": [{"id": "m"}]})
    assert "$0.25" in tried(source, "--prices", "0.25/1.25").stdout
    for wrong in ("0.25", "/1", "x/1", "0.00000025/1"):
        assert tried(source, "--prices", wrong).exit_code == 2, wrong
