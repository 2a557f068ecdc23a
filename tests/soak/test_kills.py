"""The long proof: two hundred kills."""

from pathlib import Path

import pytest

from tests.crash.killing import check_survival


@pytest.mark.soak
async def test_tasks_outlive_two_hundred_kills_and_each_is_done_and_paid_once(tmp_path: Path):
    await check_survival(tmp_path, seed=200, kills=200, count=40)
