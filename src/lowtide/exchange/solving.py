"""Solving a round beside the service: the solver holds Python's lock while it works, so it gets a process of its own."""

import asyncio
import contextlib
import multiprocessing
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from lowtide.market.clearing.call import clear_call
from lowtide.market.clearing.flow import SolverFailed, out_of_time
from lowtide.market.clearing.instance import Instance
from lowtide.market.clearing.outcome import Cleared

_SLICE_S = 0.2
_SPAWN = multiprocessing.get_context("spawn")


async def solve(instance: Instance, key: bytes, within_s: float) -> Cleared:
    """The round cleared to the optimum, or greedily with its certified gap where that takes longer (real time).

    Raises SolverFailed.
    """
    answer = await beside(clear_call, instance, key, within_s=within_s)
    if isinstance(answer, Cleared):
        return answer
    return await asyncio.to_thread(clear_call, instance, key, solver=out_of_time)


async def beside(function: Callable[..., Any], *given: Any, within_s: float) -> Any:
    """What a function of a module gives in a process of its own; None where that takes longer (real time), or dies.

    Raises SolverFailed where the function raises.
    """
    if within_s <= 0:
        return None
    left = threading.Event()
    try:
        answer = await asyncio.to_thread(_elsewhere, function, given, within_s, left)
    finally:
        # A service that is shut down does not wait for its solver.
        left.set()
    if isinstance(answer, SolverFailed):
        raise answer
    return answer


def _elsewhere(
    function: Callable[..., Any], given: tuple[Any, ...], within_s: float, left: threading.Event
) -> Any:
    here, there = _SPAWN.Pipe(duplex=False)
    process = _SPAWN.Process(target=_work, args=(there, function, given), daemon=True)
    process.start()
    there.close()
    try:
        ends = time.monotonic() + within_s
        while not left.is_set() and time.monotonic() < ends:
            if here.poll(min(_SLICE_S, within_s)):
                return here.recv()
        return None
    except EOFError:
        return None
    finally:
        here.close()
        process.kill()
        process.join()
        process.close()


def _work(answer: Connection, function: Callable[..., Any], given: tuple[Any, ...]) -> None:
    found: Any
    try:
        found = function(*given)
    except Exception as fault:
        found = SolverFailed(f"The round could not be solved: {fault}")
    # Who asked may have stopped waiting.
    with contextlib.suppress(BrokenPipeError):
        answer.send(found)
