"""The wires by name, and those of batches. A new wire is one new file and its line here."""

from collections.abc import Callable

import httpx

from lowtide.wire.anthropic_batch import AnthropicBatches
from lowtide.wire.batch import BatchWire
from lowtide.wire.call import Wire
from lowtide.wire.openai import OpenAIWire
from lowtide.wire.openai_batch import OpenAIBatches

WIRES: dict[str, Callable[[httpx.AsyncBaseTransport], Wire]] = {"openai": OpenAIWire}
BATCH_WIRES: dict[str, Callable[[httpx.AsyncBaseTransport], BatchWire]] = {
    "openai": OpenAIBatches,
    "anthropic": AnthropicBatches,
}
