"""Instants: aware UTC datetimes in the shell, integer microseconds since 1970 in the core and the store."""

from datetime import UTC, datetime, timedelta

from lowtide.values.errors import BadInstant

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def micros(moment: datetime) -> int:
    """Microseconds since 1970 of an aware datetime. Raises BadInstant (`naive_time`) for one without a zone."""
    if moment.tzinfo is None:
        raise BadInstant(
            "naive_time",
            f"{moment.isoformat()} has no zone. Send UTC with a Z, such as 2026-11-24T06:00:00Z.",
        )
    return (moment - _EPOCH) // timedelta(microseconds=1)


def instant(us: int) -> datetime:
    """The aware UTC datetime of microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=us)


def parse_instant(text: str) -> datetime:
    """An aware UTC datetime from RFC 3339 text. Raises BadInstant (`naive_time`, `bad_time`)."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadInstant(
            "bad_time", f"{text!r} is not an RFC 3339 time. Send one such as 2026-11-24T06:00:00Z."
        ) from None
    if moment.tzinfo is None:
        raise BadInstant(
            "naive_time", f"{text!r} has no zone. Send UTC with a Z, such as 2026-11-24T06:00:00Z."
        )
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise BadInstant("bad_time", f"{text!r} lies outside the years 1 to 9999.") from None


def rfc3339(moment: datetime | int) -> str:
    """RFC 3339 in UTC with Z; microseconds only where there are any."""
    aware = instant(moment) if isinstance(moment, int) else moment.astimezone(UTC)
    return aware.replace(tzinfo=None).isoformat() + "Z"
