"""The running market's own log for `lowtide backtest --from-log`: the tasks that came, and what served them cost."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from lowtide.cli.say import CommandFailed
from lowtide.cli.service import Service
from lowtide.cli.times import duration_s, moment
from lowtide.values.instants import DAY_US, HOUR_US, SECOND_US, micros, parse_instant, rfc3339

if TYPE_CHECKING:
    from lowtide.market.deferral.backtest import Row
    from lowtide.market.deferral.log_replay import Pool

AS_POSTED = "as-posted"
HISTORY_US = 112 * DAY_US
"""So much of the prices before `--since` is read for the policies to learn from, or less for short slots."""
AFTER_US = 7 * DAY_US
"""Prices are read for so long after the last arrival, for the windows of the last tasks to close."""
MOST_BARS = 9_990


@dataclass(frozen=True, slots=True)
class Came:
    """A task that was served: when it came, what time it had (µs), by which offer, and its tokens."""

    at: int
    slack_us: int
    offer_id: str
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which arrivals are replayed and how: instants and times in µs."""

    since: int
    until: int
    slot_us: int = HOUR_US
    posted_us: int = 0
    zone: str = "UTC"


def wanted(since: str | None, until: str | None, slot_us: int | None, posted: str, zone: str) -> Wanted:
    """The options of the call. Raises BadParameter where there is nothing between the instants."""
    begin, end = (micros(parse_instant(moment(text))) for text in (since or "-7d", until or "now"))
    if begin >= end:
        raise typer.BadParameter("--until must lie after --since.")
    return Wanted(begin, end, slot_us or HOUR_US, round(duration_s(posted) * SECOND_US), zone)


def rows_of_log(
    service: Service, asked: Wanted, names: Sequence[str], slacks: Sequence[tuple[str, float]]
) -> "list[tuple[str, Row]]":
    """For each slack by its name, `as-posted` among them, a row a policy. Raises CommandFailed where no task is left."""
    from lowtide.market.deferral.log_replay import replay_log

    came = list(_came(service, asked))
    if not came:
        raise CommandFailed("No task was served between --since and --until. Give an earlier --since.")
    if not asked.posted_us:
        typer.echo(
            "Each price counts as known once it came; --posted 24h replays it as published a day ahead, as tariffs are.",
            err=True,
        )
    prices = {offer: _prices(service, asked, offer) for offer in sorted({one.offer_id for one in came})}
    found = []
    for text, seconds in slacks:
        slack_us = None if text == AS_POSTED else round(seconds * SECOND_US)
        found_in = [
            intake(asked, bars, [one for one in came if one.offer_id == offer], slack_us)
            for offer, bars in prices.items()
        ]
        _tell_left(
            text, len(came), sum(one.still_open for one in found_in), sum(one.unpriced for one in found_in)
        )
        pools = [one.pool for one in found_in if one.pool is not None]
        found += [(text, row) for row in replay_log(pools, names, asked.posted_us)]
    return found


def _tell_left(slack: str, tasks: int, still_open: int, unpriced: int) -> None:
    for left, why in (
        (still_open, "their window is not over yet"),
        (unpriced, "their offer had no price when they came"),
    ):
        if left:
            typer.echo(f"{left:,} of {tasks:,} tasks are left out at {slack}: {why}.", err=True)


def _came(service: Service, asked: Wanted) -> Iterator[Came]:
    """Newest first, page by page; each is read by itself, since only then it tells its tokens."""
    after = None
    while True:
        page = service.get("/v1/tasks", state="succeeded", limit=200, after=after).data
        for row in page["data"]:
            at = micros(parse_instant(row["created_at"]))
            if at < asked.since:
                return
            if at < asked.until and row["award"]:
                yield _one(service.get(f"/v1/tasks/{row['id']}").data, at)
        after = page["next"]
        if after is None:
            return


def _one(task: dict[str, Any], at: int) -> Came:
    usage, deadline = task["result"]["usage"], task["constraints"].get("complete_by")
    slack = 0 if deadline is None else micros(parse_instant(deadline)) - at
    return Came(at, slack, task["award"]["offer_id"], usage["input_tokens"], usage["output_tokens"])


def _prices(service: Service, asked: Wanted, offer_id: str) -> list[dict[str, Any]]:
    end = asked.until + AFTER_US
    history = min(HISTORY_US, max(0, MOST_BARS * asked.slot_us - (end - asked.since)))
    span = {"from": rfc3339(asked.since - history), "to": rfc3339(end)}
    path, step = f"/v1/offers/{offer_id}/prices", f"{asked.slot_us // SECOND_US}s"
    bars: list[dict[str, Any]] = service.get(path, **span, step=step).data["data"]
    return bars


@dataclass(frozen=True, slots=True)
class Intake:
    """An offer's tasks to replay, and how many were left out: window not over yet, no price when they came."""

    pool: "Pool | None"
    still_open: int
    unpriced: int


def intake(
    asked: Wanted, bars: Sequence[dict[str, Any]], came: Sequence[Came], slack_us: int | None
) -> Intake:
    """The offer's mean price in each slot, for the usual mix of these tasks; a slot without one keeps that before."""
    import numpy as np

    from lowtide.market.deferral.log_replay import Arrival, Pool
    from lowtide.market.deferral.series import series_of

    if not bars:
        return Intake(None, 0, len(came))
    given, taken = sum(one.input_tokens for one in came), sum(one.output_tokens for one in came)
    shares = (("input_per_mtok", given / 1e6), ("output_per_mtok", taken / 1e6), ("per_request", len(came)))
    by_slot = {
        micros(parse_instant(bar["start"])): sum(float(bar[name]["mean"]) * many for name, many in shares)
        for bar in bars
    }
    start, last = min(by_slot), max(by_slot)
    prices: list[float] = []
    for at in range(start, last + 1, asked.slot_us):
        prices.append(by_slot.get(at, prices[-1] if prices else 0.0))
    arrivals, still_open, unpriced = [], 0, 0
    for one in sorted(came, key=lambda one: one.at):
        slot = (one.at - start) // asked.slot_us
        slack = (one.slack_us if slack_us is None else slack_us) // asked.slot_us
        if slot < 0:
            unpriced += 1
        elif slot + slack >= len(prices):
            still_open += 1
        else:
            arrivals.append(
                Arrival(slot, slack, (one.input_tokens + one.output_tokens) / max(1, given + taken))
            )
    pool = Pool(series_of(np.array(prices), start, asked.slot_us, asked.zone), tuple(arrivals))
    return Intake(pool, still_open, unpriced)
