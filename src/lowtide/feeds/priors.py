"""What is assumed of a model before it was seen: `config/quality.toml` and `config/latency.toml`."""

from collections.abc import Mapping
from pathlib import Path

from lowtide.market.offer import Claim, LatencyClaim
from lowtide.values.tables import read_table


def load_quality(path: Path) -> Mapping[str, Claim]:
    """The priors by market model name, each a general claim. Raises SetupError naming file and field."""
    table = read_table(path)
    table.only("models")
    priors: dict[str, Claim] = {}
    for model, entry in table.children("models").items():
        entry.only("mean", "samples")
        priors[model] = Claim("", entry.ppm("mean"), entry.count("samples", 4))
    return priors


def load_latency(path: Path) -> LatencyClaim:
    """The latency of an offer without claim or answers. Raises SetupError naming file and field."""
    table = read_table(path)
    table.only("p50_ms", "p95_ms", "tokens_per_second")
    return LatencyClaim(table.count("p50_ms"), table.count("p95_ms"), table.count("tokens_per_second"))
