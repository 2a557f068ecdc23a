"""The operator's TOML files: each wrong or unknown field is named, with its file and how to mend it."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, NoReturn

from lowtide.values.errors import SetupError

_PPM = 1_000_000


def read_table(path: Path) -> "Table":
    """The table of a TOML file. Raises SetupError where it cannot be read."""
    try:
        return Table(tomllib.loads(path.read_text(encoding="utf-8")), path.name)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SetupError(f"{path.name} cannot be read: {error}. Mend or restore the file.") from None


@dataclass(frozen=True, slots=True)
class Table:
    """A TOML table and the place it came from; its readers raise SetupError naming file and field."""

    values: Mapping[str, Any]
    place: str

    def only(self, *names: str) -> None:
        """Refuse any field but these."""
        for name in sorted(set(self.values) - set(names)):
            raise SetupError(f"{self.place} has no field {name!r}. It may have {', '.join(sorted(names))}.")

    def text(self, name: str, default: str | None = None) -> str:
        """A string; required where there is no default."""
        value = self.values.get(name, default)
        if not isinstance(value, str):
            self._wrong(name, "a string")
        return value

    def texts(
        self, name: str, default: tuple[str, ...] = (), allowed: tuple[str, ...] = ()
    ) -> tuple[str, ...]:
        """A list of strings, each among `allowed` where that is given."""
        value = self.values.get(name, list(default))
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self._wrong(name, "a list of strings")
        for item in value:
            if allowed and item not in allowed:
                self._wrong(name, f"a list out of {', '.join(allowed)}; {item!r} is none of them")
        return tuple(value)

    def choice(self, name: str, allowed: tuple[str, ...], default: str | None = None) -> str:
        """One of the allowed strings."""
        value = self.text(name, default)
        if value not in allowed:
            self._wrong(name, f"one of {', '.join(allowed)}")
        return value

    def flag(self, name: str, default: bool) -> bool:
        """True or false."""
        value = self.values.get(name, default)
        if not isinstance(value, bool):
            self._wrong(name, "true or false")
        return value

    def count(self, name: str, default: int | None = None, least: int = 1) -> int:
        """A whole number, at least `least`; required where there is no default."""
        value = self.values.get(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            self._wrong(name, f"a whole number, {least} or more")
        return value

    def counts(self, name: str) -> tuple[int, ...]:
        """A list of whole numbers, none below 0."""
        value = self.values.get(name)
        if not isinstance(value, list) or not all(type(item) is int and item >= 0 for item in value):
            self._wrong(name, "a list of whole numbers, none below 0")
        return tuple(value)

    def ppm(self, name: str, default: str | None = None) -> int:
        """A decimal string from 0 to 1, as parts per million."""
        try:
            scaled = Decimal(self.text(name, default)) * _PPM
        except InvalidOperation:
            scaled = Decimal("NaN")
        if not scaled.is_finite() or not 0 <= scaled <= _PPM or scaled != int(scaled):
            self._wrong(name, 'a decimal string from "0" to "1" with at most 6 decimals')
        return int(scaled)

    def tables(self, name: str) -> "list[Table]":
        """A list of tables, each with its place."""
        value = self.values.get(name, [])
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            self._wrong(name, f"tables, each begun with [[{name}]]")
        return [Table(item, f"{self.place}, {name} {number}") for number, item in enumerate(value, start=1)]

    def child(self, name: str) -> "Table":
        """The table under a name; required."""
        value = self.values.get(name)
        if not isinstance(value, dict):
            self._wrong(name, "a table")
        return Table(value, f"{self.place}, {name}")

    def children(self, name: str) -> "dict[str, Table]":
        """The tables under a table, by their keys."""
        value = self.values.get(name, {})
        if not isinstance(value, dict) or not all(isinstance(item, dict) for item in value.values()):
            self._wrong(name, f"a table of tables, such as [{name}.NAME]")
        return {key: Table(item, f"{self.place}, {name}.{key}") for key, item in value.items()}

    def _wrong(self, name: str, needed: str) -> NoReturn:
        given = f", not {self.values[name]!r}" if name in self.values else "; it is missing"
        raise SetupError(f"{self.place}: {name} must be {needed}{given}.")
