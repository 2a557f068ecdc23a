"""The demo as a user runs it: a day's bill at its end, and nothing lost when it is killed on the way."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

TICKETS = 60
ROOT = Path(__file__).resolve().parents[2]


def start(folder: Path, *more: str) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "lowtide",
        "demo",
        "--tickets",
        str(TICKETS),
        "--folder",
        str(folder),
        *more,
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "COLUMNS": "140"}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(run: subprocess.Popen[str]) -> str:
    output, _ = run.communicate(timeout=120)
    assert run.returncode == 0, output
    return output


@contextmanager
def reading(folder: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(folder / "lowtide.db", timeout=10)) as connection:
        yield connection


def placed(folder: Path) -> int:
    if not (folder / "lowtide.db").exists():
        return 0
    try:
        with reading(folder) as db:
            return int(db.execute("select count(*) from tasks").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


def kill_after(run: subprocess.Popen[str], folder: Path, tickets: int) -> None:
    ends = time.monotonic() + 60
    while placed(folder) < tickets:
        assert run.poll() is None, run.communicate()[0]
        assert time.monotonic() < ends, "the demo places no tickets"
        time.sleep(0.02)
    run.send_signal(signal.SIGKILL)
    run.communicate()


def test_a_demo_that_is_killed_twice_loses_no_ticket_and_charges_nobody_twice(tmp_path: Path) -> None:
    run = start(tmp_path)
    kill_after(run, tmp_path, 15)
    held = set()
    with reading(tmp_path) as db:
        held = {row[0] for row in db.execute("select id from tasks where state = 'held'")}
    kill_after(start(tmp_path, "--resume"), tmp_path, 40)
    output = finish(start(tmp_path, "--resume"))

    with reading(tmp_path) as db:
        states = dict(db.execute("select state, count(*) from tasks group by 1").fetchall())
        assert sum(states.values()) == TICKETS
        assert states.keys() <= {"succeeded", "held"}
        known = {row[0] for row in db.execute("select id from tasks where state in ('held', 'succeeded')")}
        assert held <= known
        twice = db.execute(
            "select task_id from transfers where kind = 'capture' group by 1 having count(*) > 1"
        ).fetchall()
        assert twice == []
        captured = db.execute("select sum(amount_nano) from transfers where kind = 'capture'").fetchone()[0]
        answered = db.execute("select sum(cost_nano) from attempts where state = 'answered'").fetchone()[0]
        assert captured == answered
        authorized, spent = db.execute("select authorized_nano, spent_nano from accounts").fetchone()
        waiting = db.execute(
            "select coalesce(sum(authorized_nano), 0) from tasks where state = 'held'"
        ).fetchone()[0]
        assert (authorized, spent) == (waiting, captured)
        assert db.execute("select sum(in_flight) from capacity").fetchone()[0] == 0
    assert "DIFFERENT" not in output


def test_the_demo_prints_four_bills_and_three_auctions_with_the_command_that_shows_more(
    tmp_path: Path,
) -> None:
    output = finish(start(tmp_path))

    bills = {
        name: float(amount)
        for name, amount in re.findall(
            r"│ (one top model[a-z ]*?|matching alone|waiting alone|both) +│ +\$([\d.]+)", output
        )
    }
    assert len(bills) == 4, output
    assert bills["both"] <= bills["matching alone"] < bills["one top model for everything"]
    assert bills["both"] <= bills["waiting alone"] <= bills["one top model for everything"]
    assert "0 missed" in output
    assert output.count("identical") == 3
    assert len(re.findall(r"lowtide auctions show auc_\w+", output)) == 3
    paid, ledger = re.findall(r"receipts \$([\d.]+), and by the ledger \$([\d.]+)", output)[0]
    assert paid == ledger
    assert re.search(r"lowtide savings", output)
    with reading(tmp_path) as db:
        overdue = "select count(*) from hindsights where due_at <= (select max(finished_at) from tasks)"
        assert db.execute(overdue).fetchone()[0] == 0
        saved = "select sum(immediate_nano - paid_nano) from hindsights"
        assert db.execute(saved).fetchone()[0] > 0
