"""Durations, moments, money, times and tables as people type and read them."""

from datetime import UTC, datetime, timedelta

import pytest
import typer

from lowtide.cli import say
from lowtide.cli.say import brief, complain, facts, money, span, table, when
from lowtide.cli.times import duration_s, moment
from lowtide.values.errors import FieldError, InvalidRequest
from lowtide.values.instants import parse_instant


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("1.5m", 90), ("2h", 7_200), ("1d", 86_400)]
)
def test_a_duration_is_a_number_with_a_unit(text: str, seconds: float):
    assert duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-5s", "1w", "h"])
def test_what_is_no_duration_is_a_wrong_call(text: str):
    with pytest.raises(typer.BadParameter, match="no duration"):
        duration_s(text)


def test_a_moment_is_told_in_utc():
    assert moment("2026-11-24T07:00:00+01:00") == "2026-11-24T06:00:00Z"


def test_a_moment_from_now_on_begins_with_a_plus():
    ahead = parse_instant(moment("+2h")) - datetime.now(UTC)
    assert timedelta(hours=1, minutes=59) < ahead <= timedelta(hours=2)


def test_a_moment_before_now_begins_with_a_minus():
    then = parse_instant(moment("-7d"))
    ago = datetime.now(UTC) - then
    assert timedelta(days=7) <= ago < timedelta(days=7, minutes=1)


def test_money_is_shown_exactly_as_the_market_gave_it():
    assert [money("0.0000126"), money("0"), money("-0.5"), money(None)] == ["$0.0000126", "$0", "-$0.5", "–"]


def test_times_are_shown_to_the_second_in_utc():
    assert when("2026-11-24T06:00:00.123456Z") == "2026-11-24 06:00:00Z"


def test_a_problem_is_one_line_and_each_further_field_one_more(capsys: pytest.CaptureFixture[str]):
    errors = (FieldError("/a", "x", "too small."), FieldError("/b", "x", "too large."))
    complain(InvalidRequest("/a: too small. (1 more)", errors=errors))
    assert capsys.readouterr().err == "/a: too small. (1 more)\n  /b: too large.\n"


def test_a_table_fits_a_hundred_columns_and_breaks_no_id(capsys: pytest.CaptureFixture[str]):
    name = "off_01m883nc3319x86z198j8rhc"
    table(("id", "model", "from"), [(name, "a-very-long-model-name " * 8, "2026-11-24 06:00:00Z")])
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= say.WIDTH for line in lines)
    assert lines[1].startswith(name)
    assert "2026-11-24 06:00:00Z" in lines[1]


def test_a_table_breaks_no_word(capsys: pytest.CaptureFixture[str]):
    table(
        ("id", "offer", "until"),
        [("off_" + "x" * 24, "openai gpt-5.6-luna-preview [long] (flex)" * 2, "replaced")],
    )
    shown = capsys.readouterr().out
    assert "gpt-5.6-luna-preview" in shown.split()


def test_a_table_without_rows_says_so_and_what_to_do(capsys: pytest.CaptureFixture[str]):
    table(("id",), [], empty="Make one with `lowtide keys create`.")
    assert capsys.readouterr().out == "None yet. Make one with `lowtide keys create`.\n"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (4.25, "4.25 s"),
        (30, "30 s"),
        (2010.54, "33 min 30 s"),
        (7_200, "2 h"),
        (93_600, "1 d 2 h"),
        (3_605, "1 h"),
    ],
)
def test_a_stretch_of_time_is_told_in_its_two_largest_units(seconds: float, shown: str):
    assert span(seconds) == shown


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        ("0.0000126", "0.0000126"),
        ("0.012345678", "0.01235"),
        ("12.3456", "12.35"),
        ("-0.5", "-0.5"),
        ("0", "0"),
        ("1200", "1200"),
        ("123456.7", "123457"),
        (None, "–"),
    ],
)
def test_money_of_a_wide_table_has_four_digits(amount: str | None, shown: str):
    assert brief(amount) == shown


def test_a_long_fact_is_folded_under_its_name(capsys: pytest.CaptureFixture[str]):
    facts([("why", "word " * 40), ("left out", None)])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 1
    assert all(len(line) <= say.WIDTH for line in lines)
    assert all(line.startswith("     ") for line in lines[1:])
