"""The market's own model names, and what families of models take: `config/models.toml`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from lowtide.market.offer import MODALITIES
from lowtide.values.errors import SetupError
from lowtide.values.tables import read_table

_CLOUD_PREFIX = re.compile(r"^(?:(?:us|eu|jp|au|apac|global|us-gov)\.)?[a-z0-9]+\.(?=[a-z])")
_CLOUD_REVISION = re.compile(r"-v\d+(?::\d+)?$")
_POINT_AS_LETTER = re.compile(r"(?<=\d)p(?=\d)")
_POINT = re.compile(r"(?<=\d)\.(?=\d)")


@dataclass(frozen=True, slots=True)
class ModelNames:
    """Aliases from normalised upstream names to the market's; modalities by name pattern (first match)."""

    aliases: Mapping[str, str] = field(default_factory=dict)
    families: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def market_name(self, upstream_model: str) -> str:
        """The name under which an upstream model competes, whoever sells it.

        Lower case; without the vendor's folder or cloud prefix, and without ":batch" (that is a lane); "5p3"
        is 5.3; Claude's versions have hyphens. Then the alias, where there is one.
        """
        name = upstream_model.lower().removeprefix("~").rsplit("/", 1)[-1].removesuffix(":batch")
        if "." in name and _CLOUD_PREFIX.match(name):
            name = _CLOUD_REVISION.sub("", _CLOUD_PREFIX.sub("", name))
        name = _POINT_AS_LETTER.sub(".", name)
        if name.startswith("claude"):
            name = _POINT.sub("-", name)
        return self.aliases.get(name, name)

    def modalities(self, market_name: str) -> tuple[str, ...]:
        """What the model takes as input; text where no family says more."""
        return next(
            (taken for pattern, taken in self.families if fnmatchcase(market_name, pattern)), ("text",)
        )


def load_model_names(path: Path) -> ModelNames:
    """The names of a `models.toml`: table `aliases`, and `[[families]]` with `pattern` and `modalities`.

    Raises SetupError naming file and field.
    """
    table = read_table(path)
    table.only("aliases", "families")
    aliases = table.values.get("aliases", {})
    if not isinstance(aliases, dict) or not all(isinstance(name, str) for name in aliases.values()):
        raise SetupError(f"{path.name}: aliases must map names to names.")
    families = []
    for entry in table.tables("families"):
        entry.only("pattern", "modalities")
        families.append((entry.text("pattern"), entry.texts("modalities", ("text",), MODALITIES)))
    return ModelNames(aliases, tuple(families))
