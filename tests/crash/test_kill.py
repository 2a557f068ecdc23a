"""A node that dies at any moment loses nothing, charges nothing twice, and leaks nothing."""

from pathlib import Path

from tests.crash.killing import check_survival


async def test_thirty_tasks_outlive_five_kills_and_each_is_done_and_paid_once(tmp_path: Path):
    await check_survival(tmp_path, seed=20_261_124, kills=5, count=30)
