"""`python -m lowtide.feeds.reading_process`: understands one document, for `understand_apart`.

Standard input: 8 bytes of length, so many bytes of a pickled `(call, format, context)`, then the document. Standard
output: pickled `("understood", Reading)`, `("refused", class, args, state)` of a MarketError, or `("broke", text)`.
"""

import os
import pickle
import sys
from contextlib import suppress
from typing import Any

from lowtide.values.errors import MarketError

MOST_MEMORY_BYTES = 2 * 1024**3
_NICE = 10


def main() -> None:
    """Answer once."""
    _be_modest()
    # What a parser prints must not stand in the answer.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    asked = sys.stdin.buffer
    call, format, context = pickle.loads(asked.read(int.from_bytes(asked.read(8), "big")))
    with answers:
        answers.write(_answer(call, asked.read(), format, context))


def _answer(call: Any, document: bytes, format: str | None, context: Any) -> bytes:
    try:
        return pickle.dumps(("understood", call(document, format, context)))
    except MarketError as fault:
        return pickle.dumps(("refused", type(fault), fault.args, fault.__dict__))
    except Exception as fault:
        return pickle.dumps(("broke", f"{type(fault).__name__}: {str(fault)[:300]}"))


def _be_modest() -> None:
    os.nice(_NICE)
    # Where there is such a limit: JSON of 32 MB can be some GB of objects.
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY_BYTES, MOST_MEMORY_BYTES))


if __name__ == "__main__":
    main()
