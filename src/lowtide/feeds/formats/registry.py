"""The formats of price documents that can be read, and which of them a document is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lowtide.feeds.formats import (
    csv_table,
    litellm,
    lowtide_json,
    openai_models,
    openrouter,
    openrouter_endpoints,
    openrouter_provider,
)
from lowtide.feeds.formats.context import Context
from lowtide.feeds.formats.document import Document, parse
from lowtide.feeds.listing import Reading
from lowtide.values.errors import BadValue


@dataclass(frozen=True, slots=True)
class Format:
    """A format: its name, what it is in a line, and how to tell and read a document of it."""

    name: str
    about: str
    fits: Callable[[Document], bool]
    take: Callable[[Document, Context], Reading]

    def looks_like(self, document: bytes) -> bool:
        """Whether the bytes look like this format."""
        return self.fits(parse(document))

    def read(self, document: bytes, context: Context) -> Reading:
        """What the document lists. Raises BadValue as `understand` does."""
        return understand(document, self.name, context)


_KNOWN = (
    Format(
        lowtide_json.NAME,
        "our own JSON: USD per million tokens as decimal strings, forward prices, tariffs, capacity",
        lowtide_json.fits,
        lowtide_json.take,
    ),
    Format(
        openrouter_endpoints.NAME,
        "who serves one model at OpenRouter: GET /api/v1/models/{author}/{slug}/endpoints",
        openrouter_endpoints.fits,
        openrouter_endpoints.take,
    ),
    Format(
        openrouter_provider.NAME,
        "the document that OpenRouter polls from its providers: price rows, capacity, discounts",
        openrouter_provider.fits,
        openrouter_provider.take,
    ),
    Format(
        openrouter.NAME,
        "the models of OpenRouter: GET /api/v1/models",
        openrouter.fits,
        openrouter.take,
    ),
    Format(
        litellm.NAME,
        "LiteLLM's cost map: USD per token, with lanes, long-context steps and off-peak hours",
        litellm.fits,
        litellm.take,
    ),
    Format(
        openai_models.NAME,
        "the model list of an OpenAI-compatible server, with prices where it carries them",
        openai_models.fits,
        openai_models.take,
    ),
    Format(
        csv_table.NAME,
        "a table with a header: model, input_per_mtok, output_per_mtok, and more",
        csv_table.fits,
        csv_table.take,
    ),
)
FORMATS: Mapping[str, Format] = {one.name: one for one in _KNOWN}
"""The formats by name, in the order in which a document is tried."""


def understand(document: bytes, format: str | None, context: Context) -> Reading:
    """What a document lists; its format is guessed where None is given.

    A broken entry is refused alone, in the Reading. Raises BadValue where the whole is none: `unknown_format`,
    `not_this_format`, `invalid_json`, `empty_feed`, and those of a whole document in another currency.
    """
    if format is not None and format not in FORMATS:
        raise BadValue(
            "unknown_format", f"{ascii(format)[:40]} is no format. Use one of {', '.join(FORMATS)}."
        )
    if not document.strip():
        raise BadValue("empty_feed", "The document is empty. Check the address that it comes from.")
    parsed = parse(document)
    chosen = guess(parsed) if format is None else FORMATS[format]
    try:
        return chosen.take(parsed, context)
    except BadValue as fault:
        other = next((one.name for one in FORMATS.values() if one.fits(parsed)), None)
        if fault.code != "not_this_format" or other in (None, chosen.name):
            raise
        raise BadValue(fault.code, f"{fault.detail} It looks like {other}.") from None


def guess(document: Document) -> Format:
    """The first format that a document looks like. Raises BadValue (`invalid_json`, `empty_feed`, `unknown_format`)."""
    found = next((one for one in FORMATS.values() if one.fits(document)), None)
    if found is not None:
        return found
    if document.fault is not None and (document.text or "").lstrip().startswith(("{", "[")):
        document.json()
    if document.fault is None and not document.list_of_models and document.value in ({}, [], {"data": []}):
        raise BadValue(
            "empty_feed", "The document lists no models. Check its address; an empty feed is not taken."
        )
    raise BadValue(
        "unknown_format",
        f"The document looks like none of the known formats. Send one of {', '.join(FORMATS)}, and name it.",
    )
