"""Replay: decide an auction again from its record and its book version, and compare byte for byte."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import orjson

from lowtide.market.auction import CORE, Decision, decide
from lowtide.market.book import Book
from lowtide.market.deferral.continuation import Forecast
from lowtide.market.record import AuctionIds, auction_key, inputs_from_values, record_line
from lowtide.market.spot import Inputs
from lowtide.market.task import Task, task_from_values


@dataclass(frozen=True, slots=True)
class Replayed:
    """A record decided again. `differences` names each field that came out otherwise: (field, stored, now)."""

    ids: AuctionIds
    task: Task
    inputs: Inputs
    decision: Decision
    key: bytes
    identical: bool
    differences: tuple[tuple[str, Any, Any], ...]


def replay(
    line: bytes, book: Book, epoch_seed: bytes, forecasts: Mapping[str, Forecast] = MappingProxyType({})
) -> Replayed:
    """Decide the record's auction again on the book of its version with the seed of its hour.

    `forecasts` are those that it names, by digest; where one is missing KeyError is raised.

    Identical only if the new record is the stored line to the byte; a book of another digest is a difference too.
    """
    stored = orjson.loads(line)
    ids = AuctionIds(stored["id"], stored["task_id"], stored["as_of"], stored["kind"])
    task = task_from_values(stored["task_id"], stored["task"])
    inputs = inputs_from_values(stored["inputs"], forecasts)
    key = auction_key(epoch_seed, ids.id)
    decision = decide(task, book, inputs, ids.as_of, key)
    again = record_line(ids, task, book, inputs, decision)
    differences: list[tuple[str, Any, Any]] = []
    if again != line:
        fresh = orjson.loads(again)
        differences = [
            (name, stored.get(name), fresh.get(name))
            for name in sorted(stored.keys() | fresh.keys())
            if stored.get(name) != fresh.get(name)
        ]
        if not differences:
            differences = [("line", "not canonical", "canonical")]
    if stored["core"] != CORE:
        differences.insert(0, ("core_changed", stored["core"], CORE))
    return Replayed(ids, task, inputs, decision, key, again == line, tuple(differences))
