"""The demo's sellers: real models at the catalog's prices; quality, latency and tariffs are invented."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lowtide.market.offer import Claim, LatencyClaim
from lowtide.market.tariff import Tariff
from lowtide.market.tariff_table import tariff_from_table
from lowtide.simulate.desk import DOMAIN
from lowtide.simulate.prompts import CLASSES
from lowtide.values.errors import BadValue, SetupError
from lowtide.values.tables import Table, read_table

_FIELDS = (
    *("provider", "model", "upstream_model", "context_window", "max_output_tokens"),
    *("quality", "sample_size", "acceptance", "latency", "tariff"),
)


@dataclass(frozen=True, slots=True)
class SimulatedModel:
    """A model to simulate. `provider` and `upstream_model` are ids of the price catalog.

    `acceptance_ppm` is the chance, by ticket class, that an answer is accepted; `claims` says the same to the
    market, for the domain "support" and for "support.CLASS".
    """

    provider: str
    model: str
    upstream_model: str
    context_window: int
    max_output_tokens: int
    latency: LatencyClaim
    claims: tuple[Claim, ...]
    acceptance_ppm: Mapping[str, int]
    tariff: Tariff | None = None


def load_simulated_models(path: Path) -> list[SimulatedModel]:
    """The models of a `models.toml`. Raises SetupError naming file and field."""
    table = read_table(path)
    table.only("models")
    return [_model(entry) for entry in table.tables("models")]


def _model(table: Table) -> SimulatedModel:
    table.only(*_FIELDS)
    model = table.text("model")
    samples = table.count("sample_size")
    acceptance = table.child("acceptance")
    latency = table.child("latency")
    latency.only("p50_ms", "p95_ms", "tokens_per_second")
    acceptance.only(*CLASSES)
    by_class = {name: acceptance.ppm(name) for name in CLASSES}
    claims = [Claim(DOMAIN, table.ppm("quality"), samples)]
    claims += [Claim(f"{DOMAIN}.{name}", quality, samples) for name, quality in by_class.items()]
    return SimulatedModel(
        provider=table.text("provider"),
        model=model,
        upstream_model=table.text("upstream_model", model),
        context_window=table.count("context_window"),
        max_output_tokens=table.count("max_output_tokens", 4_096),
        latency=LatencyClaim(
            latency.count("p50_ms"), latency.count("p95_ms"), latency.count("tokens_per_second")
        ),
        claims=tuple(claims),
        acceptance_ppm=by_class,
        tariff=_tariff(table),
    )


def _tariff(table: Table) -> Tariff | None:
    if "tariff" not in table.values:
        return None
    try:
        return tariff_from_table(table.child("tariff").values)
    except BadValue as error:
        raise SetupError(f"{table.place}, tariff: {error.detail}") from None
