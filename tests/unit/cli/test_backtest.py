"""`lowtide backtest` on small traces that the tests write."""

import gzip
import json
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from lowtide.cli import app
from lowtide.cli.backtest_files import read_trace, read_workload
from lowtide.cli.say import CommandFailed

START = datetime(2026, 1, 1, tzinfo=UTC)


def run(*words: object) -> Result:
    return CliRunner().invoke(app, ["backtest", *map(str, words)])


def lines(prices: list[float], step: timedelta = timedelta(hours=1)) -> list[str]:
    return [f"{START + number * step:%Y-%m-%dT%H:%M:%SZ},{price}" for number, price in enumerate(prices)]


def write(path: Path, rows: list[str], header: str = "ts,price") -> Path:
    text = "\n".join((header, *rows)) + "\n"
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def daily(days: int) -> list[float]:
    return [round(2 + math.sin(hour * math.pi / 12), 3) for hour in range(24 * days)]


@pytest.fixture
def waves(tmp_path: Path) -> Path:
    return write(tmp_path / "waves.csv.gz", lines(daily(21)))


def test_json_has_a_row_for_each_trace_slack_and_policy(waves, tmp_path):
    flat = write(tmp_path / "flat.csv", lines([3.0] * 200))
    done = run(
        "--prices", waves, flat, "--slack", "2h,6h", "--policy", "run_now", "seasonal_median", "--json"
    )
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)["rows"]
    assert [(row["trace"], row["slack_s"], row["policy"]) for row in rows] == [
        (trace, slack, policy)
        for trace in ("waves", "flat")
        for slack in (7_200, 21_600)
        for policy in ("run_now", "seasonal_median")
    ]
    assert set(rows[0]) == {
        "trace", "slack_s", "policy", "tasks", "vs_now", "vs_clairvoyant", "captured", "worst_vs_now",
        "mean_wait_s", "misses",
    }  # fmt: skip
    now, seasonal = rows[0], rows[1]
    assert (now["vs_now"], now["captured"], now["mean_wait_s"]) == (1.0, 0.0, 0.0)
    # A third of 504 slots warms up; windows of 2 h must close.
    assert now["tasks"] == 504 - 168 - 2
    assert seasonal["captured"] > 0.99
    assert {row["captured"] for row in rows if row["trace"] == "flat"} == {None}


def test_the_default_is_the_mixture_and_it_learns_a_daily_wave(waves):
    done = run("--prices", waves, "--slack", "6h", "--json")
    (row,) = json.loads(done.stdout)["rows"]
    assert row["policy"] == "mixture"
    assert row["vs_now"] < 1
    assert row["worst_vs_now"] <= 1.001


def test_posted_prices_are_known_exactly(waves):
    done = run(
        "--prices", waves, "--slack", "6h,24h", "--policy", "cheapest_known", "--posted", "24h", "--json"
    )
    assert [row["captured"] for row in json.loads(done.stdout)["rows"]] == [1.0, 1.0]


def test_people_see_a_table_the_means_and_what_was_mended(waves, tmp_path):
    rows = lines(daily(9))
    gap = write(tmp_path / "gap.csv", [rows[5], *rows[:3], *rows[6:], rows[7]])
    done = run("--prices", waves, gap, "--slack", "2h", "--policy", "k_search,run_now")
    assert done.exit_code == 0, done.output
    assert "captured" in done.stdout
    assert "on average" in done.stdout
    assert "gap: 216 slots of 1 h" in done.stderr
    assert "2 of 216 slots had no price and keep the one before" in done.stderr
    assert "1 rows repeat an instant" in done.stderr
    assert "not in order of time" in done.stderr


def test_a_gap_keeps_the_price_before_and_a_repeated_instant_the_later_line(tmp_path):
    path = write(tmp_path / "p.csv", ["2026-01-01T03:00:00Z,4", *lines([1, 2]), "2026-01-01T01:00:00Z,7"])
    trace = read_trace(path)
    assert trace.prices == [1, 7, 7, 4]
    assert trace.slot_us == 3_600_000_000


def test_rows_between_slots_count_from_the_next_slot_on(tmp_path):
    path = write(
        tmp_path / "p.csv", ["2026-01-01T00:00:00Z,1", "2026-01-01T00:40:00Z,2", "2026-01-01T02:00:00Z,3"]
    )
    trace = read_trace(path, 3_600_000_000)
    assert trace.prices == [1, 2, 3]
    assert "1 rows lie between slots" in trace.mended[0]


@pytest.mark.parametrize(
    ("header", "rows", "said"),
    [
        (
            "ts,price",
            ["2026-01-01T00:00:00Z,1", "yesterday,2"],
            "line 3: 'yesterday' is not an RFC 3339 time",
        ),
        ("ts,price", ["2026-01-01T00:00:00,1"], "line 2: '2026-01-01T00:00:00' has no zone"),
        ("ts,price", ["2026-01-01T00:00:00Z,1", "2026-01-01T01:00:00Z,dear"], "line 3: price is 'dear'"),
        ("ts,price", ["2026-01-01T00:00:00Z,nan"], "line 2: price is 'nan'"),
        ("ts,price", ["2026-01-01T00:00:00Z"], "line 2: price is None"),
        ("ts,price", ["2026-01-01T00:00:00Z,-1e308"], "line 2: price is '-1e308', more than 1e+15"),
        ("when,price", ["2026-01-01T00:00:00Z,1"], "has no column ts"),
        ("ts,price", ["2026-01-01T00:00:00Z,1"], "has 1 prices"),
        ("ts,price", ["2026-01-01T00:00:00Z,1", "2026-01-01T07:00:00Z,1"], "does not divide a day"),
    ],
)
def test_a_bad_file_is_refused_in_one_line_that_says_where(tmp_path, header, rows, said):
    path = write(tmp_path / "bad.csv", rows, header)
    with pytest.raises(CommandFailed) as refused:
        read_trace(path)
    assert said in str(refused.value)


def test_a_file_that_is_not_there_or_not_gzip_is_refused(tmp_path):
    (tmp_path / "no.csv.gz").write_text("ts,price\n")
    for path in (tmp_path / "none.csv", tmp_path / "no.csv.gz"):
        with pytest.raises(CommandFailed, match="cannot be read"):
            read_trace(path)


def test_a_workload_brings_tasks_when_it_says_weighed_by_tokens(waves, tmp_path):
    rows = ["0,10,5", "7200,1,1", "3599.9,2,0", "9000000,1,1"]
    path = write(tmp_path / "w.csv", rows, "t_s,prompt_tokens,completion_tokens")
    series = read_trace(waves).series("UTC")
    tasks, after = read_workload(path, series, 168)
    assert tasks.slot.tolist() == [168, 168, 170]
    assert tasks.weight.tolist() == [15, 2, 2]
    assert after == 1
    done = run("--prices", waves, "--workload", path, "--slack", "2h", "--policy", "run_now", "--json")
    assert json.loads(done.stdout)["rows"][0]["tasks"] == 3


def test_a_capacity_is_kept_and_what_cannot_start_in_time_is_counted(waves, tmp_path):
    path = write(tmp_path / "w.csv", ["0"] * 10, "t_s")
    words = ("--prices", waves, "--workload", path, "--slack", "2h", "--policy", "run_now", "--json")
    (row,) = json.loads(run(*words, "--capacity", "3").stdout)["rows"]
    assert (row["tasks"], row["misses"]) == (10, 1)
    (row,) = json.loads(run(*words, "--capacity", "5").stdout)["rows"]
    assert (row["misses"], row["mean_wait_s"]) == (0, 1_800)


def test_with_a_capacity_what_is_held_is_planned_together_by_default(waves):
    words = ("--prices", waves, "--slack", "12h", "--capacity", "1.5", "--posted", "24h", "--json")
    (row,) = json.loads(run(*words).stdout)["rows"]
    assert (row["policy"], row["misses"]) == ("plan", 0)
    assert 1 <= row["vs_clairvoyant"] < 1.01
    each = json.loads(run(*words, "--policy", "all").stdout)["rows"]
    assert each[0] == row
    assert {row["policy"] for row in each} > {"plan", "mixture", "cheapest_known"}
    assert min(row["vs_clairvoyant"] for row in each[1:]) > 1.05


def test_a_capacity_is_told_as_a_multiple_of_the_load(waves, tmp_path):
    done = run("--prices", waves, "--slack", "2h", "--capacity", "2.5", "--policy", "plan,run_now")
    assert done.exit_code == 0, done.output
    assert "the capacity is ×2.50 of the load" in done.stderr
    assert "At most 2.5 starts a slot" in done.stdout
    path = write(tmp_path / "w.csv", [str(number * 720) for number in range(500)], "t_s")
    done = run("--prices", waves, "--workload", path, "--slack", "6h", "--capacity", "8", "--posted", "6h")
    assert "waves: 5 tasks a slot on average, so the capacity is ×1.60 of the load" in done.stderr


def test_a_dash_is_explained_and_null_in_json(tmp_path, waves):
    free = write(tmp_path / "free.csv", lines([0.0] * 200))
    low = write(tmp_path / "low.csv", lines([-1.0 - hour % 24 for hour in range(200)]))
    words = ("--prices", free, low, waves, "--slack", "2h", "--policy", "run_now")
    shown = " ".join(run(*words).stdout.split())
    assert "– under ÷ now or ÷ best: on free, low running at once or the best costs zero or less" in shown
    assert "– under captured: on free waiting cannot save anything" in shown
    rows = json.loads(run(*words, "--json").stdout)["rows"]
    assert [(row["vs_now"], row["captured"]) for row in rows] == [(None, None), (None, 0.0), (1.0, 0.0)]
    assert "–" not in run("--prices", waves, "--slack", "2h", "--policy", "run_now").stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--policy", "luck"), "no policy"),
        (("--slack", "90m"), "no whole number of slots"),
        (("--slack", "soon"), "no duration"),
        (("--slack", ","), "names no duration"),
        (("--zone", "Mars/Base"), "no time zone"),
        (("--plot", "x.gif"), "neither .svg nor .png"),
        (("--slot", "7h"), "does not divide a day"),
        (("--capacity", "0"), "no number of starts a slot"),
        (("--capacity", "-1"), "no number of starts a slot"),
        (("--capacity", "1.2345"), "up to 3 decimals"),
        (("--capacity", "many"), "no number of starts a slot"),
        (("--policy", "plan"), "give --capacity"),
    ],
)
def test_a_wrong_call_says_what_would_be_right(waves, words, said):
    done = run("--prices", waves, *words)
    assert done.exit_code == 2
    assert said in " ".join(done.output.split())


def test_where_no_window_fits_into_the_trace_it_is_said(tmp_path):
    short = write(tmp_path / "short.csv", lines(daily(3)))
    done = run("--prices", short, "--slack", "1h,100h", "--policy", "run_now")
    assert done.exit_code == 0, done.output
    assert "short: no task with a slack of 4 d 4 h" in done.stderr
    assert "slack of 1 h" not in done.stderr


def test_without_prices_the_call_says_what_it_needs():
    assert "--prices FILE" in " ".join(run().output.split())


def test_a_plot_is_an_svg_with_a_bar_for_each_share(waves, tmp_path):
    picture = tmp_path / "out.svg"
    words = ("--slack", "2h,6h", "--policy", "seasonal_median", "k_search", "--plot", picture)
    assert run("--prices", waves, *words).exit_code == 0
    drawn = picture.read_text()
    assert drawn.startswith("<svg")
    assert drawn.count("<title>") == 4
    assert "seasonal_median" in drawn


def test_a_plot_that_cannot_be_written_fails_plainly(waves, tmp_path):
    words = ("--slack", "2h", "--policy", "run_now", "--plot", tmp_path / "no" / "x.svg")
    done = run("--prices", waves, *words)
    assert isinstance(done.exception, CommandFailed)
    assert "cannot be written" in str(done.exception)


def test_long_slots_are_followed_by_all_but_the_learned_policies(tmp_path):
    path = write(tmp_path / "long.csv", lines(daily(6)[::2] * 4, timedelta(hours=2)))
    done = run("--prices", path, "--slack", "4h", "--policy", "forecast_path")
    assert "divide an hour" in str(done.exception)
    done = run("--prices", path, "--slack", "4h", "--policy", "mixture", "--json")
    assert json.loads(done.stdout)["rows"][0]["vs_now"] < 1
