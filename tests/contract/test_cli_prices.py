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


async def run(service: Served, *words: str, command: str = "prices") -> Result:
    """The command as it is typed, in a thread beside the market."""
    typed = ["offers", command, *words, "--url", service.url, "--key", OPERATOR_KEY]
    return await asyncio.to_thread(CliRunner().invoke, app, typed)


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


async def test_watching_tells_each_price_once_until_it_changes(service: Served):
    offer = await service.offer("north", "1", model="gpt-x")
    await service.offer("south", "1", model="claude-x")
    watching = asyncio.create_task(
        run(service, "--model", "gpt-*", "--max-input", "3", "--seconds", "2", command="watch")
    )
    await asyncio.sleep(0.6)
    for price in ("2", "2", "4"):
        await service.quote(offer, price)
        await asyncio.sleep(0.1)
    lines = (await watching).output.splitlines()
    assert [line.partition("  ")[2] for line in lines] == [
        "north gpt-x  $1 in, $1 out",
        "north gpt-x  $2 in, $2 out",
        "north gpt-x  no longer among these",
    ]
