"""Screening of holds: whatever a full decision would release or plan anew, the mask names (MARKET.md section 9)."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowtide.market.book import Row
from lowtide.market.deferral.screening import NONE, Holds, concerned, to_decide_again
from lowtide.market.spot import Inputs
from lowtide.market.task import Task
from tests.market_builder import NOW, book, decide, offer, quote, task

SECOND, MINUTE = 1_000_000, 60_000_000


def one_hold(wanted: Task, plan) -> Holds:
    """The columns of one task that waits."""
    limits, objective = wanted.constraints, wanted.objective
    values = (
        plan.slot,
        plan.release_at,
        limits.complete_by,
        wanted.input_bytes,
        NONE if limits.max_cost_nano is None else limits.max_cost_nano,
        objective.value_nano or 0,
        objective.per_second_nano,
    )
    columns = [np.array([value], dtype=np.int64) for value in values]
    return Holds(np.array([plan.row], dtype=np.int32), *columns)


@st.composite
def rows(draw, name: str) -> Row:
    edges = sorted(draw(st.sets(st.sampled_from([10, 20, 30, 60, 90]), max_size=3)))
    quotes, start = [], 0
    for sequence, edge in enumerate([*edges, draw(st.sampled_from([None, 100_000]))]):
        until = None if edge is None else NOW + edge * MINUTE
        if draw(st.integers(0, 7)):
            unit = draw(st.sampled_from([0, 0, 40_000]))
            quotes.append(
                quote(
                    draw(st.integers(1, 60)),
                    start,
                    until,
                    sequence=sequence,
                    quarantined=draw(st.integers(0, 15)) == 0,
                    input=unit,
                )
            )
        start = until
    return offer(
        name,
        quotes=quotes,
        provider=draw(st.sampled_from(["p", "q"])),
        quality=draw(st.sampled_from([0.6, 0.8, 0.9])),
        latency=draw(st.sampled_from([100, 1_000])),
        p99=1_000 * draw(st.sampled_from([1, 60, 300])),
        health=draw(st.sampled_from([1.0, 0.9])),
        circuit=draw(st.sampled_from(["closed"] * 6 + ["open"])),
        withdrawn=draw(st.integers(0, 9)) == 0,
        features=draw(st.sampled_from([("tools",), ("tools",), ()])),
        price_max=draw(st.sampled_from([None, (0, 0, 60), (0, 0, 100)])),
    )


tasks = st.builds(
    task,
    complete_by=st.integers(20, 240).map(lambda minutes: NOW + minutes * MINUTE),
    max_cost=st.sampled_from([None, 50, 80, 200]),
    value=st.sampled_from([None, 60, 300]),
    per_second=st.sampled_from([0, 0, 1]),
    min_quality=st.sampled_from([None, 0.7]),
    features=st.sampled_from([(), (), ("tools",)]),
    fallback=st.sampled_from([None, None, None, "o0"]),
    input_bytes=st.sampled_from([0, 400, 4_000]),
    usual_output=st.just(10),
    max_output=st.just(20),
)


@st.composite
def changes(draw):
    """A task that is held, the book it was held on, that with a row or two changed, and the later instant."""
    count = draw(st.integers(1, 5))
    before = book(*(draw(rows(f"o{number}")) for number in range(count)))
    wanted = draw(tasks)
    altered = {}
    for number in draw(st.sets(st.integers(0, count - 1), min_size=1, max_size=2)):
        fresh = draw(rows(f"o{number}"))
        old = before.rows[number]
        fresh = replace(fresh, offer=replace(fresh.offer, provider=old.offer.provider))
        kept = draw(st.sampled_from(["quotes", "conditions", "neither"]))
        if kept != "neither":
            fresh = replace(old, **{kept: getattr(fresh, kept)})
        altered[number] = fresh
    later = NOW + draw(st.sampled_from([0, 1, 240])) * SECOND
    return wanted, before, altered, later


seen = {"held": 0, "kept": 0, "changed": 0, "spared": 0}


@given(changes())
def never_left_alone(drawn):
    wanted, before, altered, later = drawn
    held = decide(wanted, before, at=later)
    if held.outcome != "held":
        return
    plan = held.decision.deferral
    after = before.with_rows(2, altered)
    again = decide(wanted, after, at=later)
    new = again.decision.deferral
    same = (
        again.outcome == "held"
        and (new.slot, new.row) == (plan.slot, plan.row)
        and plan.release_at <= new.latest_start
    )
    named = concerned(wanted, before, after, altered) and bool(
        to_decide_again(wanted, one_hold(wanted, plan), after, Inputs(), altered, later)[0]
    )
    seen["held"] += 1
    seen["kept"] += same
    seen["changed"] += not same
    seen["spared"] += not named
    assert same or named


@pytest.mark.parametrize("examples", [1_000, pytest.param(10_000, marks=pytest.mark.soak)])
def test_a_hold_that_a_full_decision_would_alter_is_never_left_alone_and_of_the_others_some_are(examples):
    seen.update(dict.fromkeys(seen, 0))
    settings(max_examples=examples, deadline=None)(never_left_alone)()
    print(seen)
    assert seen["changed"] > examples / 100
    assert seen["spared"] > seen["kept"] / 10
