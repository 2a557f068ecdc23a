"""Fields of foreign entries, read one by one: each wrong value is a Fault with its path and a sentence."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

from lowtide.feeds.formats.entries import Fault, Path
from lowtide.market.offer import FEATURES, MODALITIES
from lowtide.values.errors import BadInstant
from lowtide.values.instants import micros, parse_instant
from lowtide.values.money import MAX_TOKENS

_NAME = re.compile(r"[\x21-\x7e]{1,128}")
_DIGITS = re.compile(r"\d{1,15}", re.ASCII)
_MOST = 2**53 - 1


def shown(value: Any) -> str:
    """A value for a message: short, and safe to print."""
    text = ascii(value) if not isinstance(value, Decimal) else str(value)
    return text if len(text) <= 40 else text[:37] + "…"


@dataclass(frozen=True, slots=True)
class Node:
    """An object of a document, and the path from its entry to it."""

    values: Mapping[str, Any]
    path: Path = ()

    @classmethod
    def of(cls, value: Any, path: Path = ()) -> "Node":
        """The object. Raises Fault (`wrong_type`) where the value is none."""
        if not isinstance(value, Mapping):
            raise Fault("wrong_type", f"Send an object here, not {shown(value)}.", path)
        return cls(value, path)

    def fault(self, code: str, detail: str, *names: str | int) -> Fault:
        """A Fault that points at a field of this object."""
        return Fault(code, detail, (*self.path, *names))

    def get(self, name: str) -> Any:
        """The raw value; None where it is absent or null."""
        return self.values.get(name)

    def node(self, name: str) -> "Node | None":
        """An object below, None where absent."""
        value = self.get(name)
        return None if value is None else Node.of(value, (*self.path, name))

    def items(self, name: str) -> list[tuple[Any, Path]]:
        """The values of a list with their paths; none where it is absent."""
        value = self.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.fault("wrong_type", f"{name} must be a list, not {shown(value)}.", name)
        return [(part, (*self.path, name, i)) for i, part in enumerate(value)]

    def nodes(self, name: str) -> list["Node"]:
        """The objects of a list."""
        return [Node.of(part, path) for part, path in self.items(name)]

    def name(self, name: str) -> str:
        """A name that must be there: up to 128 ASCII characters without spaces."""
        value = self.get(name)
        if value is None or value == "":
            raise self.fault("missing_field", f"{name} is missing. Name the model in {name}.", name)
        if not isinstance(value, str) or not _NAME.fullmatch(value):
            raise self.fault(
                "bad_name",
                f"{shown(value)} is no name. Send 1 to 128 ASCII characters without spaces.",
                name,
            )
        return value

    def text(self, name: str) -> str:
        """A text; empty where absent."""
        value = self.get(name)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise self.fault("wrong_type", f"{name} must be a text, not {shown(value)}.", name)
        return value

    def count(self, name: str, least: int = 0) -> int | None:
        """A whole number: an integer, a decimal without a fraction, or a string of digits; None where absent."""
        value = self.get(name)
        if value is None or value == "":
            return None
        whole: int | None = None
        if isinstance(value, int) and not isinstance(value, bool):
            whole = value
        elif isinstance(value, str):
            whole = int(value) if _DIGITS.fullmatch(value) else None
        elif isinstance(value, Decimal) and 0 <= value <= _MOST and value == value.to_integral_value():
            whole = int(value)
        if whole is None or not least <= whole <= _MOST:
            raise self.fault(
                "not_a_number",
                f"{name} must be a whole number of at least {least}, not {shown(value)}.",
                name,
            )
        return whole

    def tokens(self, *names: str) -> int | None:
        """The first of these numbers of tokens that is there and above 0, at most what the market trades."""
        found = next((count for count in map(self.count, names) if count), None)
        return None if found is None else min(found, MAX_TOKENS)

    def flag(self, name: str) -> bool:
        """Whether a field is true; absent is false."""
        return self.get(name) is True

    def words(self, name: str) -> tuple[str, ...]:
        """The texts of a list, lower case; other values among them are left out."""
        value = self.get(name)
        return (
            tuple(word.lower() for word in value if isinstance(word, str)) if isinstance(value, list) else ()
        )

    def instant_us(self, name: str) -> int | None:
        """An RFC 3339 instant, or a date for its UTC midnight, in µs; None where absent."""
        value = self.get(name)
        if value is None or value == "":
            return None
        try:
            if not isinstance(value, str) or len(value) > 64:
                raise ValueError
            if len(value) == len("2026-10-01"):
                return micros(datetime.combine(date.fromisoformat(value), time(), UTC))
            return micros(parse_instant(value))
        except BadInstant as fault:
            raise self.fault(fault.code, fault.detail, name) from None
        except ValueError:
            raise self.fault(
                "bad_time", f"{shown(value)} is no date. Write {name} as 2026-10-01.", name
            ) from None


def modalities(found: tuple[str, ...], default: tuple[str, ...]) -> tuple[str, ...]:
    """The market's words for what a model takes, in the market's order; the default where nothing is known."""
    known = tuple(word for word in MODALITIES if word in found)
    return known or default


def features(*found: tuple[str, ...]) -> tuple[str, ...]:
    """All features named, in the market's order."""
    named = {word for words in found for word in words}
    return tuple(word for word in FEATURES if word in named)
