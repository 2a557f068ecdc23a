"""An auction as the command line shows it."""

from typing import Any

import pytest

from lowtide.cli.auction_text import BIDS_WIDTH, show_auction
from lowtide.cli.say import WIDTH


def bid(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "offer_id": f"off_{number}",
        "provider": "openrouter",
        "model": "deepseek-v3.2-exp-thinking",
        "lane": "flex",
        "bid_usd": "0.001234567",
        "worst_usd": "0.010234567",
        "quality": {"claimed": 0.93, "verified": 0.9, "lower_bound": 0.8567, "samples": 20.0},
        "latency_ms": {"p50": 9_000, "p95": 120_000},
        "loss_reason": "retention_not_allowed",
        "score_usd": "-0.001234567",
        "rank": number,
        "min_to_win_usd": "0.000987654",
    } | changes


def auction(*bids: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "id": "auc_1",
        "task_id": "task_1",
        "opened_at": "2026-11-24T06:00:00Z",
        "book_version": 3,
        "rule": "posted",
        "constraints": {"min_quality": 0.8},
        "outcome": "awarded",
        "reason": None,
        "winner": "off_1",
        "clearing_price_usd": "0.001234567",
        "deferral": None,
        "explanation": "It won.",
        "bids": list(bids),
        "replay": {"identical": True},
    } | changes


def shown(capsys: pytest.CaptureFixture[str], found: dict[str, Any]) -> str:
    show_auction(found, every=False)
    return capsys.readouterr().out


def test_a_bid_shows_what_it_costs_its_quality_its_score_and_what_would_have_tied(
    capsys: pytest.CaptureFixture[str],
):
    lines = shown(capsys, auction(bid(1, provider="north", model="tide"))).splitlines()
    row = next(line for line in lines if "north tide (flex)" in line)
    assert row.split()[4:] == [
        "0.001235", "0.01023", ".93/.90/.856", "120000", "-0.001235", "0.0009877", "won",
    ]  # fmt: skip


def test_the_widest_bids_fit_120_columns_and_break_no_word(capsys: pytest.CaptureFixture[str]):
    found = shown(capsys, auction(*(bid(number, winner=None) for number in range(38, 42))))
    assert max(len(line) for line in found.splitlines()) <= BIDS_WIDTH
    assert found.count("deepseek-v3.2-exp-thinking") == found.count("retention_not_allowed") == 4


def test_the_columns_are_explained_under_the_table(capsys: pytest.CaptureFixture[str]):
    legend = [line for line in shown(capsys, auction(bid(1))).splitlines() if "claimed/verified" in line]
    assert len(legend) == 1
    assert len(legend[0]) <= WIDTH


def test_the_price_is_called_the_expected_one(capsys: pytest.CaptureFixture[str]):
    assert "expected price  $0.001234567\n" in shown(capsys, auction(bid(1)))


def test_a_decision_to_wait_is_told_as_facts(capsys: pytest.CaptureFixture[str]):
    deferral = {
        "policy": "posted",
        "offer_id": "off_1",
        "slot_from": "2026-11-24T22:00:00Z",
        "price_now_usd": "0.002",
        "expected_price_usd": "0.001",
        "reservation_price_usd": "0.0011",
        "release_at": "2026-11-24T22:00:01Z",
        "latest_start": "2026-11-25T05:00:00Z",
    }
    found = shown(capsys, auction(bid(1), outcome="held", winner=None, deferral=deferral))
    facts = dict(line.split("  ", 1) for line in found.splitlines() if "  " in line and line[0].isalpha())
    told = {name: value.strip() for name, value in facts.items()}
    assert told["waits for"] == "openrouter deepseek-v3.2-exp-thinking (flex) (posted)"
    assert told["slot from"] == "2026-11-24 22:00:00Z"
    assert told["expected then"] == "$0.001"
    assert told["best bid now"] == "$0.002"
    assert told["reservation"] == "$0.0011: a bid at or under it ends the wait"
    assert told["release"] == "2026-11-24 22:00:01Z"
    assert told["latest start"] == "2026-11-25 05:00:00Z"
