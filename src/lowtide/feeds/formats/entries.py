"""Entries of a document, each taken, skipped or refused alone."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from lowtide.feeds.listing import Listing, Reading, Refusal
from lowtide.values.errors import BadValue

Path = tuple[str | int, ...]
_LONGEST_NAME = 128


class Fault(BadValue):
    """What is wrong with an entry: code, sentence, and the path from the entry to the field."""

    def __init__(self, code: str, detail: str, path: Path = ()) -> None:
        super().__init__(code, detail)
        self.path = path


class NotForUs(Exception):
    """An entry that is no business of the market's, with the reason under which it is counted."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Entry:
    """A document's entry: what it calls itself, its value, and where it stands (RFC 6901)."""

    name: str
    value: Any
    pointer: str


def entries_of(values: Iterable[Any], base: str, name_field: str = "id") -> list[Entry]:
    """Entries of a list that stands at `base`, named by a field of theirs."""
    return [Entry(entry_name(value, name_field), value, f"{base}/{i}") for i, value in enumerate(values)]


def entry_name(value: Any, field: str) -> str:
    """The name that an entry gives itself, for messages; empty where it has none."""
    name = value.get(field) if isinstance(value, dict) else None
    return name if isinstance(name, str) else ""


def reading(
    format_name: str, entries: Iterable[Entry], listings_of: Callable[[Entry], Iterable[Listing]]
) -> Reading:
    """Read every entry by itself; of two that list the same offer the first counts.

    Raises BadValue (`empty_feed`) where there are no entries.
    """
    listings: dict[tuple[str, str, str], Listing] = {}
    refused: list[Refusal] = []
    skipped: Counter[str] = Counter()
    count = 0
    for entry in entries:
        count += 1
        try:
            found = list(listings_of(entry))
            repeated = [_repeats(listings.get(one.key), one) for one in found]
            if repeated and all(repeated):
                skipped["listed twice"] += 1
            listings.update((one.key, one) for one in found if one.key not in listings)
        except NotForUs as reason:
            skipped[reason.reason] += 1
        except BadValue as fault:
            refused.append(refusal(entry, fault))
    if not count:
        raise BadValue(
            "empty_feed", "The document lists no models. Check its address; an empty feed is not taken."
        )
    return Reading(format_name, tuple(listings.values()), tuple(refused), count, tuple(skipped.most_common()))


def refusal(entry: Entry, fault: BadValue) -> Refusal:
    """The refusal of an entry, pointing at the field where the fault knows it."""
    path = fault.path if isinstance(fault, Fault) else ()
    name = entry.name[:_LONGEST_NAME].encode("utf-8", "replace").decode()
    return Refusal(name, entry.pointer + pointer(*path), fault.code, fault.detail)


def pointer(*path: str | int) -> str:
    """An RFC 6901 pointer of a path."""
    parts = (str(part).encode("utf-8", "replace").decode() for part in path)
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)


def _repeats(first: Listing | None, second: Listing) -> bool:
    """Whether the second says again what the first said. Raises Fault where it says something else."""
    if first is None:
        return False
    if replace(first, raw=None) != replace(second, raw=None):
        raise Fault(
            "duplicate_entry",
            f"An entry before it lists {second.upstream_model} on lane {second.lane} too, with other values. "
            "Keep one of them, or tell them apart by a variant.",
        )
    return True
