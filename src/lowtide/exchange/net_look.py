"""Looking at the nets: what other nodes keep at safe offers for calls on spot lanes, and what nobody needs any more."""

import orjson

from lowtide.exchange.dispatch import Dispatcher
from lowtide.exchange.market import Market
from lowtide.market.deferral.crowding import Slot
from lowtide.market.deferral.net import PREEMPTIBLE
from lowtide.market.task import task_from_values
from lowtide.store import tasks

IDS = 500
"""Tasks that one query asks for."""


async def look_at_nets(market: Market, dispatcher: Dispatcher) -> None:
    """Read the slots of other nodes, and let go those of this one's tasks that neither run here nor wait for a place."""
    nets, others = market.held.nets, market.database.dialect != "sqlite"
    others = others and bool(market.keeper.book.on_lanes(PREEMPTIBLE).any())
    unsure = nets.unsure(dispatcher.carries)
    if not unsure and not others:
        return
    async with market.database.read() as conn:
        for first in range(0, len(unsure), IDS):
            some = unsure[first : first + IDS]
            for task_id in set(some) - await tasks.waiting_or_of(conn, some, market.node):
                nets.let_go(task_id)
        if others:
            found = await tasks.with_slots(conn, market.node)
            nets.learn(
                {
                    one.id: (
                        task_from_values(one.id, orjson.loads(one.decided_as)),
                        Slot(*orjson.loads(one.award)["slot"]),
                    )
                    for one in found
                }
            )
