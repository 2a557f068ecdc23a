"""`lowtide offers prices` against a served market."""

import asyncio
import csv
import json
from pathlib import Path

import pyarrow.parquet as pq
from typer.testing import CliRunner, Result

from lowtide.cli import app
from tests.contract.served import OPERATOR_KEY, Served
from tests.contract.test_prices import priced


async def run(service: Served, *words: str) -> Result:
    """The command as it is typed, in a thread beside the market."""
    command = ["offers", "prices", *words, "--url", service.url, "--key", OPERATOR_KEY]
    return await asyncio.to_thread(CliRunner().invoke, app, command)


async def test_prices_are_shown_as_a_table_and_saved_as_csv_parquet_and_json(service: Served, tmp_path: Path):
    offer = await priced(service)
    shown = await run(service, offer, "--from", "-8h", "--step", "1h")
    assert shown.exit_code == 0, shown.output
    assert "step 1h" in shown.output
    assert "100%" in shown.output
    files = {name: tmp_path / f"prices.{name}" for name in ("csv", "parquet", "json")}
    for name, file in files.items():
        saved = await run(service, offer, "--step", "1h", "--format", name, "--output", str(file))
        assert saved.exit_code == 0, saved.output
    bars = json.loads(files["json"].read_text())["data"]
    assert (
        len(bars)
        == len(list(csv.DictReader(files["csv"].open())))
        == pq.read_table(files["parquet"]).num_rows
    )
    ticks = await run(service, offer, "--step", "ticks")
    assert "no price" in ticks.output
    printed = await run(service, offer, "--step", "1h", "--format", "csv")
    assert printed.output.startswith("start,covered,input_per_mtok_open,")


async def test_a_refusal_is_one_line_and_leaves_the_file_alone(service: Served, tmp_path: Path):
    offer = await priced(service)
    file = tmp_path / "prices.csv"
    file.write_text("mine")
    refused = await run(service, offer, "--step", "1x", "--format", "csv", "--output", str(file))
    assert refused.exit_code == 1
    assert "15m" in str(refused.exception)
    assert file.read_text() == "mine"
    assert (await run(service, offer, "--format", "parquet")).exit_code == 2
