"""Invariant 16: no task leaves its state table, whatever is asked of the store and in whichever order."""

import asyncio
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lowtide.market.states import FINAL, TRANSITIONS, TaskState, check_transition
from lowtide.store import accounts, migrate, tasks
from lowtide.store.database import Database
from lowtide.store.rows import LostRace
from lowtide.values.errors import IllegalTransition

STATES = st.sampled_from(TaskState)


class OneTask(RuleBasedStateMachine):
    """A task that is asked to make any move, from true and from stale knowledge of where it stands."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.state: TaskState | None = None
        self.version = 0
        self.placed = 0

    @initialize()
    def open(self) -> None:
        url = f"sqlite:///{Path(self.folder.name) / 'market.db'}"
        self.runner.run(migrate.upgrade(url))
        self.database = self.runner.run(Database.open(url))
        self.write(lambda conn: accounts.ensure_default_account(conn, 0))

    def write(self, unit):
        async def run():
            return await self.database.writer.write(unit)

        return self.runner.run(run())

    @precondition(lambda self: self.state is None or self.state in FINAL)
    @rule(state=STATES)
    def place(self, state: TaskState) -> None:
        self.placed += 1
        row = {
            "id": f"task_{self.placed}",
            "account_id": accounts.DEFAULT_ACCOUNT,
            "key_id": "key_a",
            "state": state.value,
            "task_type": "chat",
        }
        try:
            self.write(lambda conn: tasks.add_task(conn, row, "{}"))
        except IllegalTransition:
            assert state not in TRANSITIONS[None]
            self.placed -= 1
        else:
            assert state in TRANSITIONS[None]
            self.state, self.version = state, 0

    @precondition(lambda self: self.state is not None)
    @rule(to=STATES, believed=st.none() | STATES, behind=st.sampled_from([0, 0, 0, 1]))
    def move(self, to: TaskState, believed: TaskState | None, behind: int) -> None:
        before = believed or self.state
        known = before is self.state and behind == 0
        try:
            self.write(
                lambda conn: tasks.move(conn, f"task_{self.placed}", before, self.version - behind, to)
            )
        except IllegalTransition:
            assert to not in TRANSITIONS[before]
        except LostRace:
            assert not known
        else:
            assert known
            assert to in TRANSITIONS[before]
            self.state, self.version = to, self.version + 1

    @precondition(lambda self: self.state is not None)
    @rule()
    def touch(self) -> None:
        self.version = self.write(
            lambda conn: tasks.touch(conn, f"task_{self.placed}", self.state, self.version, reason="seen")
        )

    @invariant()
    def the_store_stands_where_the_table_led(self) -> None:
        if self.state is None:
            return

        async def read():
            async with self.database.read() as conn:
                return await tasks.get_task(conn, f"task_{self.placed}")

        found = self.runner.run(read())
        assert (found.state, found.version) == (self.state.value, self.version)

    def teardown(self) -> None:
        if hasattr(self, "database"):
            self.runner.run(self.database.close())
        self.runner.close()
        self.folder.cleanup()


OneTask.TestCase.settings = settings(
    max_examples=20, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
TestNoTaskLeavesItsStateTable = OneTask.TestCase


@pytest.mark.parametrize("final", sorted(FINAL))
@pytest.mark.parametrize("state", TaskState)
def test_a_final_state_leads_nowhere(final: TaskState, state: TaskState):
    with pytest.raises(IllegalTransition, match="final"):
        check_transition(final, state)


def test_the_final_states_are_those_of_the_record():
    assert {"succeeded", "failed", "unfilled", "expired", "cancelled"} == FINAL


def test_every_state_can_be_reached_from_placing():
    reached, frontier = set(), {None}
    while frontier:
        frontier = set().union(*(TRANSITIONS[state] for state in frontier)) - reached
        reached |= frontier
    assert reached == set(TaskState)
