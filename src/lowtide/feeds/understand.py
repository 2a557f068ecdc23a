"""Understanding a document without holding up the event loop: a large one in a process of its own.

JSON parsers hold the interpreter's lock, so a thread would not help; and a process can be killed, whatever it chews on.
"""

import asyncio
import os
import pickle
import sys
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from lowtide.feeds.fetch import FeedFailed
from lowtide.feeds.listing import Reading
from lowtide.values.errors import MarketError

IN_PLACE_BYTES = 64 * 1024
DEADLINE_S = 30.0
_AT_ONCE = 1
_SLICE_BYTES = 256 * 1024

Understand = Callable[[bytes, str | None, Any], Reading]
_places: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()


async def understand_apart(
    document: bytes,
    format: str | None,
    context: Any,
    *,
    call: Understand | None = None,
    deadline_s: float = DEADLINE_S,
) -> Reading:
    """What `call` (by default `formats.understand`) gives for a document; it and `context` must be picklable.

    Up to 64 KiB it is called in place. Larger documents take a Python process each, one at a time, of low priority
    and bounded memory, which is killed after `deadline_s` seconds. Raises what `call` raises of MarketError; FeedFailed
    `feed_timeout` at the deadline, and `feed_unreadable` for any other fault and for a process that died.
    """
    call = call or _formats_understand()
    if len(document) <= IN_PLACE_BYTES:
        try:
            return call(document, format, context)
        except MarketError:
            raise
        except Exception as fault:
            raise _unreadable(f"{type(fault).__name__}: {fault}") from fault
    order = pickle.dumps((call, format, context))
    async with _places.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(_AT_ONCE)):
        raw = await _in_a_process(order, document, deadline_s)
    # In a thread: the many objects of a long reading would take the loop some 10 ms and more.
    return await asyncio.to_thread(_reading, raw)


def _formats_understand() -> Understand:
    from lowtide.feeds.formats import understand

    return understand


async def _in_a_process(order: bytes, document: bytes, deadline_s: float) -> bytes:
    """What `reading_process` writes."""
    paths = os.pathsep.join(path for path in sys.path if path)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "lowtide.feeds.reading_process"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": paths},
    )
    try:
        async with asyncio.timeout(deadline_s):
            _, raw = await asyncio.gather(_tell(process, order, document), _all_of(process))
            status = await process.wait()
    except TimeoutError:
        raise FeedFailed(
            "feed_timeout",
            f"The document of {len(document)} bytes was not understood within {deadline_s:g} s. Serve a smaller one.",
        ) from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if status != 0:
        raise _unreadable(f"the process that read it ended with status {status}")
    return raw


async def _tell(process: asyncio.subprocess.Process, order: bytes, document: bytes) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(len(order).to_bytes(8, "big") + order)
        for at in range(0, len(document), _SLICE_BYTES):
            process.stdin.write(document[at : at + _SLICE_BYTES])
            await process.stdin.drain()
        process.stdin.close()
        await process.stdin.wait_closed()
    except (BrokenPipeError, ConnectionResetError):
        return  # It died; its status says so.


async def _all_of(process: asyncio.subprocess.Process) -> bytes:
    assert process.stdout is not None
    return await process.stdout.read()


def _reading(raw: bytes) -> Reading:
    match pickle.loads(raw):
        case ("understood", reading):
            found: Reading = reading
            return found
        case ("refused", kind, args, state):
            # Not by the pickled exception: that would call its __init__ with the message alone.
            fault: MarketError = kind.__new__(kind, *args)
            fault.__dict__.update(state)
            raise fault
        case broke:
            raise _unreadable(broke[-1])


def _unreadable(why: str) -> FeedFailed:
    return FeedFailed("feed_unreadable", f"The document could not be understood ({why}).")
