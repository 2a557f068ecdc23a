"""Whether the files of config/ can be used, and which providers the environment makes live."""

from typing import TYPE_CHECKING

from lowtide.cli.findings import Finding
from lowtide.cli.greeting import sorted_by_life
from lowtide.values.errors import MarketError

if TYPE_CHECKING:
    from lowtide.app import Settings
    from lowtide.feeds.providers import ProviderConfig


def check_files(settings: "Settings") -> list[Finding]:
    """The configuration, then the providers of it."""
    from lowtide.exchange.conditions import FirstConditions
    from lowtide.feeds.model_names import load_model_names
    from lowtide.feeds.providers import load_providers

    folder = settings.config
    try:
        FirstConditions.load(folder)
        load_model_names(folder / "models.toml")
        configs = load_providers(folder / "providers")
    except MarketError as fault:
        return [Finding("config", "broken", fault.detail, f"Mend the file in {folder}.")]
    except OSError as fault:
        return [
            Finding(
                "config",
                "broken",
                f"{fault.filename} cannot be read: {fault.strerror}.",
                "Put the file back, or name another folder in LOWTIDE_CONFIG.",
            )
        ]
    good = Finding("config", "ok", f"{folder}: {len(configs)} providers are described")
    return [good, _providers(settings, configs)]


def _providers(settings: "Settings", configs: "list[ProviderConfig]") -> Finding:
    live, off = sorted_by_life(configs, settings.environment)
    mend = "\n".join(off)
    if not live:
        return Finding(
            "providers",
            "unset",
            "none is live in this shell's environment",
            f"set one of these and start the service:\n{mend}" if mend else None,
        )
    return Finding(
        "providers",
        "ok",
        f"live in this shell's environment: {', '.join(live)}",
        f"not live:\n{mend}" if mend else None,
    )
