"""Solving a round beside the service: the solver holds Python's lock while it works, so it gets a process of its own."""

import asyncio
import contextlib
import multiprocessing
from multiprocessing.connection import Connection

from lowtide.market.clearing.call import clear_call
from lowtide.market.clearing.flow import SolverFailed, out_of_time
from lowtide.market.clearing.instance import Instance
from lowtide.market.clearing.outcome import Cleared

_SPAWN = multiprocessing.get_context("spawn")


async def solve(instance: Instance, key: bytes, within_s: float) -> Cleared:
    """The round cleared to the optimum, or greedily with its certified gap where that takes longer (real time).

    A process that dies counts as one that took too long. Raises what `clear_call` raises.
    """
    if within_s > 0:
        answer = await asyncio.to_thread(_elsewhere, instance, key, within_s)
        if isinstance(answer, Exception):
            raise answer
        if answer is not None:
            return answer
    return await asyncio.to_thread(clear_call, instance, key, solver=out_of_time)


def _elsewhere(instance: Instance, key: bytes, within_s: float) -> Cleared | Exception | None:
    here, there = _SPAWN.Pipe(duplex=False)
    process = _SPAWN.Process(target=_work, args=(there, instance, key), daemon=True)
    process.start()
    there.close()
    try:
        if not here.poll(within_s):
            return None
        answer: Cleared | Exception = here.recv()
        return answer
    except EOFError:
        return None
    finally:
        here.close()
        process.kill()
        process.join()
        process.close()


def _work(answer: Connection, instance: Instance, key: bytes) -> None:
    found: Cleared | Exception
    try:
        found = clear_call(instance, key)
    except Exception as fault:
        found = SolverFailed(f"The round could not be solved: {fault}")
    # Who asked may have stopped waiting.
    with contextlib.suppress(BrokenPipeError):
        answer.send(found)
