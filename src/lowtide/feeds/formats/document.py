"""A document as it came: its text, and its JSON with every number exact."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from lowtide.feeds.formats.entries import Fault
from lowtide.values.canonical import canonical, sha256
from lowtide.values.errors import BadValue

_DEEPEST = 32


@dataclass(frozen=True, slots=True)
class Document:
    """Text of a document and its JSON value; `fault` says why it is no JSON, `text` is None where it is no UTF-8."""

    text: str | None
    value: Any = None
    fault: str | None = None

    def json(self) -> Any:
        """The JSON value. Raises BadValue (`invalid_json`) where there is none."""
        if self.fault is not None:
            raise BadValue("invalid_json", f"The document is not JSON: {self.fault}. Send JSON in UTF-8.")
        return self.value

    @property
    def list_of_models(self) -> list[Any] | None:
        """The entries of `{"data": […]}` or of a bare list; None for other shapes."""
        value = self.value.get("data") if isinstance(self.value, Mapping) else self.value
        return value if isinstance(value, list) else None

    @property
    def list_pointer(self) -> str:
        """Where the list of models stands."""
        return "/data" if isinstance(self.value, Mapping) else ""


def parse(data: bytes) -> Document:
    """Read bytes as UTF-8 (with or without a byte-order mark) and as JSON; numbers become int or Decimal."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return Document(None, fault=f"byte {error.start} is not UTF-8")
    try:
        return Document(text, json.loads(text, parse_float=_decimal, parse_constant=_refuse))
    except json.JSONDecodeError as error:
        return Document(text, fault=f"{error.msg} in line {error.lineno}, column {error.colno}")
    except RecursionError:
        return Document(text, fault="it is nested too deeply")
    except ValueError as error:
        return Document(text, fault=str(error))


def entry_hash(entry: Any) -> str:
    """SHA-256 (hexadecimal) of an entry's canonical JSON. Raises Fault (`too_deep`, `bad_text`)."""
    try:
        return sha256(canonical(_plain(entry, _DEEPEST))).hex()
    except TypeError:
        # Lone surrogates: JSON can write them, UTF-8 cannot.
        raise Fault("bad_text", "The entry has text that is not Unicode. Send it in UTF-8.") from None


def _plain(value: Any, depth: int) -> Any:
    """The value with RFC 8785's numbers: doubles, but integers that a double holds."""
    if isinstance(value, dict):
        return {name: _plain(part, _below(depth)) for name, part in value.items()}
    if isinstance(value, list):
        return [_plain(part, _below(depth)) for part in value]
    if isinstance(value, Decimal) or (
        isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**53
    ):
        try:
            return float(value)
        except OverflowError:
            return str(value)
    return value


def _below(depth: int) -> int:
    if depth == 0:
        raise Fault(
            "too_deep", f"The entry is nested more than {_DEEPEST} levels deep. Send a flatter document."
        )
    return depth - 1


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except ArithmeticError:
        raise ValueError(f"the number {text[:40]} is out of range") from None


def _refuse(text: str) -> None:
    raise ValueError(f"{text} is not a JSON number")
