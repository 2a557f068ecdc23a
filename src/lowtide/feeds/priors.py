"""What is assumed of a model before it was seen: `config/quality.toml` and `config/latency.toml`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lowtide.market.offer import LANES, Claim, LatencyClaim
from lowtide.values.errors import SetupError
from lowtide.values.tables import Table, read_table

_LATENCY_FIELDS = ("p50_ms", "p95_ms", "tokens_per_second")


@dataclass(frozen=True, slots=True)
class Expected:
    """The latency assumed of an offer, and within how many ms its answer is promised (0: nothing is promised)."""

    latency: LatencyClaim
    completion_ms: int = 0


@dataclass(frozen=True, slots=True)
class LatencyPriors:
    """What is assumed of every lane, and of those that differ."""

    usual: Expected
    lanes: Mapping[str, Expected] = field(default_factory=dict)

    def of(self, lane: str) -> Expected:
        """What is assumed of a lane."""
        return self.lanes.get(lane, self.usual)


def load_quality(path: Path) -> Mapping[str, Claim]:
    """The priors by market model name, each a general claim. Raises SetupError naming file and field."""
    table = read_table(path)
    table.only("models")
    priors: dict[str, Claim] = {}
    for model, entry in table.children("models").items():
        entry.only("mean", "samples")
        priors[model] = Claim("", entry.ppm("mean"), entry.count("samples", 4))
    return priors


def load_latency(path: Path) -> LatencyPriors:
    """The latency of an offer without claim or answers, by lane. Raises SetupError naming file and field."""
    table = read_table(path)
    table.only(*_LATENCY_FIELDS, "lanes")
    lanes = table.children("lanes")
    for lane, entry in lanes.items():
        if lane not in LANES:
            raise SetupError(f"{entry.place} is no lane. Lanes are {', '.join(LANES)}.")
        entry.only(*_LATENCY_FIELDS, "completion_s")
    return LatencyPriors(
        Expected(_latency(table)),
        {
            lane: Expected(_latency(entry), 1_000 * entry.count("completion_s", 0, least=0))
            for lane, entry in lanes.items()
        },
    )


def _latency(table: Table) -> LatencyClaim:
    return LatencyClaim(*(table.count(name) for name in _LATENCY_FIELDS))
