"""The providers of `config/providers/`: who can be bought from, and which of them are live here."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lowtide.feeds.lane_rules import LaneRule
from lowtide.market.offer import FEATURES, LANES, MODALITIES
from lowtide.market.quote import Prices
from lowtide.market.tariff import Tariff, scaled
from lowtide.market.tariff_table import multiplier_ppm, prices_from_table, tariff_from_table
from lowtide.values.errors import BadValue, SetupError
from lowtide.values.tables import Table, read_table

WIRES = ("openai", "anthropic", "gemini")
BATCH_WIRES = ("openai", "anthropic")
MAX_TOKENS_FIELDS = ("max_tokens", "max_completion_tokens")
_PPM = 1_000_000


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """A model listed by hand, with its prices: for servers that the catalog does not know."""

    model: str
    upstream_model: str
    prices: Prices
    lane: str = "standard"
    context_window: int = 128_000
    max_output_tokens: int = 4_096
    modalities: tuple[str, ...] = ("text",)
    features: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ProviderConfig:
    """One file of `config/providers/`. `discount_ppm` is the negotiated fraction off every price.

    `catalog` is the provider's id in genai-prices, None where only `models` are sold; `include` and `exclude`
    are patterns of catalog ids; upstream they lose `strip_prefix` and get `model_prefix`. `lane_rules` price lanes
    that the catalog does not; `tariff` is the seller's clock, on the base of the catalog's or the models' prices;
    `batch_wire` is the batch API that it has, if any.
    """

    name: str
    wire: str
    base_url: str
    base_url_env: str | None = None
    credential_env: tuple[str, ...] = ()
    catalog: str | None = None
    lanes: tuple[str, ...] = ("standard",)
    discount_ppm: int = 0
    regions: tuple[str, ...] = ()
    zero_retention: bool = False
    features: tuple[str, ...] = ()
    max_tokens_field: str = "max_tokens"
    max_output_tokens: int = 4_096
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    model_prefix: str = ""
    strip_prefix: str = ""
    lane_rules: tuple[LaneRule, ...] = ()
    tariff: Tariff | None = None
    batch_wire: str | None = None
    models: tuple[ModelConfig, ...] = ()


def load_providers(folder: Path) -> list[ProviderConfig]:
    """The providers of a folder's `*.toml`, by file name. Raises SetupError naming file, field and mend.

    Their tariffs stand beside that folder, in `tariffs/`.
    """
    tariffs = folder.parent / "tariffs"
    configs = [_provider(read_table(path), tariffs) for path in sorted(folder.glob("*.toml"))]
    names = [config.name for config in configs]
    for name in names:
        if names.count(name) > 1:
            raise SetupError(
                f"Two files in {folder.name} have the name {name!r}. Give each provider its own."
            )
    return configs


def live(config: ProviderConfig, env: Mapping[str, str]) -> bool:
    """Whether the environment sets what the provider needs.

    That is its own address where it has a `base_url_env` (a local server), else one of its credentials.
    """
    if config.base_url_env is not None:
        return bool(env.get(config.base_url_env))
    return bool(credentials(config, env))


def address(config: ProviderConfig, env: Mapping[str, str]) -> str:
    """The base URL: the environment's where it sets one, else the file's; without a slash at the end."""
    return ((env.get(config.base_url_env) if config.base_url_env else None) or config.base_url).rstrip("/")


def credentials(config: ProviderConfig, env: Mapping[str, str]) -> tuple[str, ...]:
    """The names of the credential variables that are set, in the file's order; they are used in turn."""
    return tuple(name for name in config.credential_env if env.get(name))


def discounted(prices: Prices, discount_ppm: int) -> Prices:
    """The prices less a negotiated discount in ppm, each rounded up to a nano-USD; unknown stays unknown."""
    return scaled(prices, _PPM - discount_ppm) if discount_ppm else prices


def load_tariff(path: Path) -> Tariff:
    """The tariff of a TOML file. Raises SetupError naming file and mend."""
    try:
        return tariff_from_table(read_table(path).values)
    except BadValue as error:
        raise SetupError(f"{path.parent.name}/{path.name}: {error.detail}") from None


def _provider(table: Table, tariffs: Path) -> ProviderConfig:
    own = ProviderConfig.__dataclass_fields__.keys() - {"discount_ppm", "lane_rules"}
    table.only(*own, "discount", "lane_multipliers")
    config = ProviderConfig(
        name=table.text("name"),
        wire=table.choice("wire", WIRES),
        base_url=_url(table),
        base_url_env=table.text("base_url_env", "") or None,
        credential_env=table.texts("credential_env"),
        catalog=table.text("catalog", "") or None,
        lanes=table.texts("lanes", ("standard",), LANES),
        discount_ppm=table.ppm("discount", "0"),
        regions=table.texts("regions"),
        zero_retention=table.flag("zero_retention", False),
        features=table.texts("features", allowed=FEATURES),
        batch_wire=table.choice("batch_wire", ("", *BATCH_WIRES), "") or None,
        max_tokens_field=table.choice("max_tokens_field", MAX_TOKENS_FIELDS, "max_tokens"),
        max_output_tokens=table.count("max_output_tokens", 4_096),
        include=table.texts("include", ("*",)),
        exclude=table.texts("exclude"),
        model_prefix=table.text("model_prefix", ""),
        strip_prefix=table.text("strip_prefix", ""),
        lane_rules=tuple(_lane_rule(entry) for entry in table.tables("lane_multipliers")),
        tariff=_tariff(table, tariffs),
        models=tuple(_model(entry) for entry in table.tables("models")),
    )
    if config.base_url_env is None and not config.credential_env:
        raise SetupError(
            f"{table.place}: nothing says when {config.name} is live. Name the variable of its key in "
            "credential_env, or that of its address in base_url_env."
        )
    return config


def _lane_rule(table: Table) -> LaneRule:
    table.only("lane", "multiplier", "models")
    try:
        share = multiplier_ppm(table.text("multiplier"), "The multiplier")
    except BadValue as error:
        raise SetupError(f"{table.place}: {error.detail}") from None
    return LaneRule(table.choice("lane", LANES), share, table.texts("models", ("*",)))


def _tariff(table: Table, folder: Path) -> Tariff | None:
    name = table.text("tariff", "")
    if not name:
        return None
    path = folder / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(one.stem for one in folder.glob("*.toml"))) or "none"
        raise SetupError(
            f"{table.place}: there is no {path.name} in {folder.name}/ for tariff {name!r}. "
            f"Write one, or name one that is there: {known}."
        )
    return load_tariff(path)


def _model(table: Table) -> ModelConfig:
    table.only(*ModelConfig.__dataclass_fields__)
    model = table.text("model")
    try:
        prices = prices_from_table(table.values.get("prices"), model)
    except BadValue as error:
        raise SetupError(f"{table.place}: {error.detail}") from None
    return ModelConfig(
        model=model,
        upstream_model=table.text("upstream_model", model),
        prices=prices,
        lane=table.choice("lane", LANES, "standard"),
        context_window=table.count("context_window", 128_000),
        max_output_tokens=table.count("max_output_tokens", 4_096),
        modalities=table.texts("modalities", ("text",), MODALITIES),
        features=table.texts("features", allowed=FEATURES),
    )


def _url(table: Table) -> str:
    url = table.text("base_url")
    if not url.startswith(("http://", "https://")):
        raise SetupError(f"{table.place}: base_url must begin with https:// or http://, not {url!r}.")
    return url
