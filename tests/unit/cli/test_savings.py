"""`lowtide savings`: what it says where tasks are still to be looked back on."""

from datetime import UTC, datetime, timedelta

import pytest

from lowtide.cli.savings import _pending


@pytest.mark.parametrize(
    ("hours", "count", "said"),
    [
        (-1, 3, "3 held tasks ended and not looked back on"),
        (1, 1, "1 held task ended and not looked back on"),
    ],
)
def test_what_is_still_to_come_is_told_with_what_is_known_and_its_time(hours, count, said):
    at = (datetime.now(UTC) + timedelta(hours=hours)).isoformat().replace("+00:00", "Z")
    answer = {"pending": count, "next_at": at, "pending_paid_usd": "0.5", "pending_immediate_usd": "0.8"}
    told = _pending(answer)
    assert told.startswith(f"{said}: paid ")
    assert "0.8" in told
    assert (at[:19].replace("T", " ") in told) == (hours > 0)
