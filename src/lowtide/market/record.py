"""The record of an auction: about 1 KB, however many offers, from which it can be decided again."""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from lowtide.market.auction import CORE, Decision
from lowtide.market.batch_times import BatchTimes
from lowtide.market.book import Book
from lowtide.market.deferral.continuation import Forecast, ForecastUse
from lowtide.market.deferral.known import Deferral
from lowtide.market.deferral.progress import JobProgress
from lowtide.market.eligibility import LossReason
from lowtide.market.live import live_from_values, live_values
from lowtide.market.spot import Inputs
from lowtide.market.task import Task, task_values
from lowtide.values.canonical import canonical
from lowtide.values.instants import HOUR_US

_NONE: Mapping[str, Forecast] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class AuctionIds:
    """What names an auction: its id, kind (`spot`) and the instant (µs) as of which it was decided."""

    id: str
    task_id: str
    as_of: int
    kind: str = "spot"


def epoch_of(as_of: int) -> int:
    """The hour (µs of its start) whose seed breaks ties at an instant."""
    return as_of - as_of % HOUR_US


def auction_key(epoch_seed: bytes, auction_id: str) -> bytes:
    """HMAC-SHA-256(epoch seed, auction id): the randomness of one auction (MARKET.md section 5)."""
    return hmac.digest(epoch_seed, auction_id.encode(), "sha256")


def record_line(ids: AuctionIds, task: Task, book: Book, inputs: Inputs, decision: Decision) -> bytes:
    """The canonical JSON line that goes into the log. No prompt, label or user name is in it."""
    counts = np.bincount(decision.reasons, minlength=1)
    deferral = decision.deferral
    record: dict[str, Any] = {
        "type": "auction",
        "core": CORE,
        "id": ids.id,
        "kind": ids.kind,
        "task_id": ids.task_id,
        "as_of": ids.as_of,
        "book": {"version": book.version, "digest": book.digest.hex()},
        "rule": decision.rule,
        "settlement": "fixed",
        "task": task_values(task),
        "inputs": inputs_values(replace(inputs, forecasts=decision.forecasts)),
        "outcome": decision.outcome,
        "winner": None if decision.winner is None else book.rows[decision.winner.row].offer.id,
        "price": decision.price_nano,
        "thin": int(decision.thin),
        "code": decision.code,
        "nearest": decision.nearest,
        "top": [[bid.row, bid.score_nano, bid.bid_nano] for bid in decision.top],
        "reasons": {LossReason(code).code: int(counts[code]) for code in np.flatnonzero(counts).tolist()},
        "reasons_digest": hashlib.sha256(decision.reasons.tobytes()).hexdigest(),
        "deferral": None if deferral is None else _deferral_values(deferral),
    }
    return canonical(record)


def _deferral_values(deferral: Deferral) -> dict[str, Any]:
    values = {
        "policy": deferral.policy,
        "slot": deferral.slot,
        "row": deferral.row,
        "price_now": deferral.price_now_nano,
        "expected": deferral.expected_nano,
        "reservation": deferral.reservation_nano,
        "release_at": deferral.release_at,
        "latest_start": deferral.latest_start,
    }
    return values if deferral.forecast is None else values | {"forecast": deferral.forecast}


def inputs_values(inputs: Inputs) -> dict[str, Any]:
    """The JSON form of a decision's inputs; what was not known before it existed is left out where it is empty."""
    values: dict[str, Any] = {
        "rule": inputs.rule,
        "refused": list(inputs.refused),
        "reference_cost": inputs.reference_cost_nano,
    }
    if inputs.live:
        values |= {"live": [live_values(bid) for bid in inputs.live], "closes_at": inputs.closes_at}
    if inputs.closed_lanes:
        values["closed_lanes"] = list(inputs.closed_lanes)
    if inputs.batches:
        values["batches"] = [[one.provider, list(one.quantiles_ms)] for one in inputs.batches]
    if inputs.forecasts:
        values["forecasts"] = [
            [use.row, use.forecast.digest(), *([list(use.members)] if use.members else [])]
            for use in inputs.forecasts
        ]
    if not inputs.may_wait:
        values["may_wait"] = False
    if inputs.preemptible:
        values["preemptible"] = list(inputs.preemptible)
    if inputs.resting:
        values["resting"] = [[row, until] for row, until in inputs.resting]
    if inputs.job is not None:
        job = inputs.job
        values["job"] = [job.total, job.done, job.began, int(job.left_spot)]
    if inputs.back_by is not None:
        values["back_by"] = inputs.back_by
    return values


def forecasts_named(values: dict[str, Any]) -> list[str]:
    """The digests of the forecasts that inputs in JSON form name."""
    return [digest for _, digest, *_ in values.get("forecasts", ())]


def inputs_from_values(values: dict[str, Any], forecasts: Mapping[str, Forecast] = _NONE) -> Inputs:
    """The inputs of a record's JSON form, with the forecasts that it names by their digests; others raise KeyError."""
    return Inputs(
        values["rule"],
        tuple(values["refused"]),
        values["reference_cost"],
        tuple(live_from_values(bid) for bid in values.get("live", ())),
        values.get("closes_at"),
        tuple(values.get("closed_lanes", ())),
        tuple(BatchTimes(provider, tuple(times)) for provider, times in values.get("batches", ())),
        tuple(
            ForecastUse(row, forecasts[digest], *(tuple(rows) for rows in members))
            for row, digest, *members in values.get("forecasts", ())
        ),
        values.get("may_wait", True),
        tuple(values.get("preemptible", ())),
        tuple((row, until) for row, until in values.get("resting", ())),
        _job_of(values.get("job")),
        values.get("back_by"),
    )


def _job_of(values: list[Any] | None) -> JobProgress | None:
    if values is None:
        return None
    total, done, began, left_spot = values
    return JobProgress(total, done, began, bool(left_spot))
