"""What a check of the doctor found."""

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "unset", "broken"]


@dataclass(frozen=True, slots=True)
class Serving:
    """The book of the service that answers; the digest is None where the key does not let it be seen."""

    url: str
    version: int
    digest: str | None


@dataclass(frozen=True, slots=True)
class Finding:
    """One check. `unset`: not there, and nothing is wrong with that; `mend` says what would change it."""

    check: str
    state: State
    detail: str
    mend: str | None = None
