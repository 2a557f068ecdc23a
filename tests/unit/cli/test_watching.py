"""A task followed on the command line, against a server that answers as the market does."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from lowtide.cli.service import Service
from lowtide.cli.task_text import show_task
from lowtide.cli.watching import watched

OFFERS = {
    "off_1": {"provider": "openai", "model": "gpt-5-nano", "variant": "", "lane": "standard"},
    "off_2": {"provider": "openai", "model": "gpt-5.6-luna", "variant": "", "lane": "flex"},
}
AT = "2026-11-24T06:00:00.5Z"


def attempt(number: int, offer_id: str, outcome: str = "connect_failed") -> dict[str, Any]:
    return {
        "number": number,
        "auction_id": "auc_1",
        "offer_id": offer_id,
        "provider": "openai",
        "state": "failed",
        "outcome": outcome,
        "cost_usd": "0",
        "detail": "Nobody listens there.",
    }


def task(**changes: Any) -> dict[str, Any]:
    award = OFFERS["off_2"] | {"offer_id": "off_2", "bid_usd": "0.002", "price_usd": "0.002"}
    return {
        "id": "task_1",
        "task_type": "general",
        "state": "failed",
        "reason": "connect_failed",
        "auction_id": "auc_1",
        "hold": None,
        "nearest": None,
        "award": award,
        "attempts": [attempt(1, "off_1"), attempt(2, "off_2")],
        "result": None,
        "receipt": None,
    } | changes


@contextmanager
def market(
    found: dict[str, Any], events: list[tuple[str, dict[str, Any]]], *, ends: bool
) -> Iterator[Service]:
    """A market with one task and its events; with `ends` False their stream stays open."""
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.rpartition("/")[2]
            answer = found if name == "task_1" else OFFERS.get(name)
            self.send_response(404 if answer is None and name != "events" else 200)
            self.end_headers()
            if name != "events":
                self.wfile.write(
                    json.dumps(answer or {"detail": "unknown", "code": "unknown_offer"}).encode()
                )
                return
            for kind, data in events:
                self.wfile.write(f"event: {kind}\ndata: {json.dumps(data | {'at': AT})}\n\n".encode())
                self.wfile.flush()
            if not ends:
                over.wait(20)

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield Service(f"http://127.0.0.1:{server.server_port}", "lt_key")
    finally:
        over.set()
        server.shutdown()
        server.server_close()


FAILOVER: list[tuple[str, dict[str, Any]]] = [
    ("task.placed", {"state": "running", "auction_id": "auc_1", "reason": None}),
    ("attempt.failed", {"offer_id": "off_1", "outcome": "connect_failed", "next": "off_2"}),
    ("attempt.failed", {"offer_id": "off_2", "outcome": "timeout", "next": "off_gone"}),
    ("task.failed", {"state": "failed", "reason": "connect_failed"}),
]


def test_each_failed_attempt_says_where_it_was_why_it_failed_and_what_is_next(
    capsys: pytest.CaptureFixture[str],
):
    with market(task(), FAILOVER, ends=True) as service:
        watched(service, "task_1")
    assert [line.split("Z  ")[1] for line in capsys.readouterr().out.splitlines()] == [
        "running at openai gpt-5-nano",
        "attempt 1 at openai gpt-5-nano failed (connect_failed); next: openai gpt-5.6-luna (flex)",
        "attempt 2 at openai gpt-5.6-luna (flex) failed (timeout); next: off_gone",
        "failed: connect_failed",
    ]


def test_waiting_ends_after_its_seconds_though_the_stream_stays_open(capsys: pytest.CaptureFixture[str]):
    with market(task(), FAILOVER[:2], ends=False) as service:
        began = time.monotonic()
        watched(service, "task_1", within_s=0.3)
        assert 0.3 <= time.monotonic() - began < 10
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_waiting_with_json_prints_nothing_and_ends_with_the_stream(capsys: pytest.CaptureFixture[str]):
    with market(task(), FAILOVER, ends=True) as service:
        watched(service, "task_1", within_s=60, quiet=True)
    assert capsys.readouterr().out == ""


def test_a_task_that_failed_over_names_every_offer_and_the_winner_that_began(
    capsys: pytest.CaptureFixture[str],
):
    with market(task(), [], ends=True) as service:
        show_task(service, task())
    shown = " ".join(capsys.readouterr().out.split())
    assert (
        "openai gpt-5-nano won auction auc_1 and began; after failover openai gpt-5.6-luna (flex), bid $0.002"
        in shown
    )
    assert "1 openai gpt-5-nano connect_failed" in shown
    assert "2 openai gpt-5.6-luna (flex) connect_failed" in shown


def test_a_state_and_a_code_of_the_same_word_are_said_once(capsys: pytest.CaptureFixture[str]):
    ended = task(state="cancelled", reason="cancelled", attempts=[], award=None)
    events = [("task.cancelled", {"state": "cancelled", "reason": "cancelled"})]
    with market(ended, events, ends=True) as service:
        watched(service, "task_1")
        show_task(service, ended)
    assert capsys.readouterr().out.count("cancelled") == 2
