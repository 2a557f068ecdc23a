"""What the market knew before it was stopped, read again from finished tasks."""

import orjson

from lowtide.exchange.market import Market
from lowtide.store import attempts

RECENT = 2_000


async def load_history(market: Market) -> None:
    """Fill the task types' trailing figures from the newest answered attempts, the oldest of them first."""
    async with market.database.read() as conn:
        found = await attempts.recent_answers(conn, RECENT)
    for task_type, usage, cost_nano in reversed(found):
        market.task_types.note(task_type, orjson.loads(usage)["output_tokens"], cost_nano)
