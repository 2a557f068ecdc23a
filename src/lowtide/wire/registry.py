"""The wires by name. A new wire is one new file and its line here."""

from collections.abc import Callable

import httpx

from lowtide.wire.call import Wire
from lowtide.wire.openai import OpenAIWire

WIRES: dict[str, Callable[[httpx.AsyncBaseTransport], Wire]] = {"openai": OpenAIWire}
