"""The operator's provider files."""

import tomllib
from pathlib import Path

import pytest

from lowtide.feeds.catalog import catalog_listings
from lowtide.feeds.providers import address, credentials, discounted, live, load_providers
from lowtide.market.quote import Prices
from lowtide.values.errors import SetupError
from lowtide.values.instants import DAY_US

SHIPPED = Path(__file__).parents[3] / "config" / "providers"
NOW = 1_795_000_000_000_000
CLOUD = (
    'name = "acme"\nwire = "openai"\nbase_url = "https://acme.example/v1"\ncredential_env = ["ACME_KEY"]\n'
)


def shipped(name):
    return next(config for config in load_providers(SHIPPED) if config.name == name)


def load(folder, text):
    (folder / "acme.toml").write_text(text)
    return load_providers(folder)[0]


def test_every_shipped_provider_reads_and_bears_its_files_name():
    assert {config.name for config in load_providers(SHIPPED)} == {
        path.stem for path in SHIPPED.glob("*.toml")
    }
    assert len(load_providers(SHIPPED)) == 15


@pytest.mark.parametrize("config", [c for c in load_providers(SHIPPED) if c.catalog], ids=lambda c: c.name)
def test_every_shipped_catalog_provider_sells_priced_models(config):
    listings = catalog_listings(
        config.catalog,
        NOW,
        NOW + 7 * DAY_US,
        1,
        lanes=config.lanes,
        include=config.include,
        exclude=config.exclude,
        model_prefix=config.model_prefix,
        strip_prefix=config.strip_prefix,
        lane_rules=config.lane_rules,
        tariff=config.tariff,
    )
    assert sum(one.priced for one in listings) >= 3
    assert all(one.upstream_model.startswith(config.model_prefix) for one in listings)
    assert {one.lane for one in listings} == set(config.lanes)


def test_a_cloud_provider_is_live_with_any_of_its_keys_and_a_local_one_with_its_address():
    google, vllm = shipped("google"), shipped("vllm")
    assert live(google, {"GOOGLE_API_KEY": "k"})
    assert credentials(google, {"GOOGLE_API_KEY": "k"}) == ("GOOGLE_API_KEY",)
    assert not live(google, {"GOOGLE_API_KEY": ""})
    assert live(vllm, {"VLLM_BASE_URL": "http://box:8000/v1/"})
    assert not live(vllm, {"VLLM_API_KEY": "k"})
    assert address(vllm, {"VLLM_BASE_URL": "http://box:8000/v1/"}) == "http://box:8000/v1"
    assert address(google, {}) == "https://generativelanguage.googleapis.com/v1beta/openai"


def test_no_shipped_provider_is_live_in_an_empty_environment():
    assert not [config.name for config in load_providers(SHIPPED) if live(config, {})]


@pytest.mark.parametrize("name", ["litellm", "vllm", "ollama", "llamacpp", "qwen"])
def test_the_commented_examples_of_models_read_once_uncommented(name, tmp_path):
    text = (SHIPPED / f"{name}.toml").read_text()
    head, examples = text.split("# [[models]]", 1)
    lines = [line.removeprefix("# ") for line in examples.splitlines()]
    example = "\n".join(line for line in lines if line.startswith("[") or " = " in line)
    config = load(tmp_path, f"{head}[[models]]\n{example}")
    assert all(model.prices.known for model in config.models)
    assert config.models[-1].lane == ("spot" if name == "vllm" else "standard")
    assert tomllib.loads(text).get("models") is None


def test_a_discount_lowers_every_price_and_rounds_up():
    assert discounted(Prices(1_001, None, per_request=10), 150_000) == Prices(851, None, per_request=9)
    assert discounted(Prices(1_001, 5), 0) == Prices(1_001, 5)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (CLOUD + "colour = 1", r"acme\.toml has no field 'colour'"),
        (CLOUD.replace('wire = "openai"', 'wire = "morse"'), r"acme\.toml: wire must be one of openai"),
        (CLOUD + "discount = 0.15", r"acme\.toml: discount must be a string"),
        (CLOUD + 'discount = "1.5"', r'discount must be a decimal string from "0" to "1"'),
        (CLOUD + 'lanes = ["fast"]', r"lanes must be a list out of priority"),
        (CLOUD + 'zero_retention = "no"', r"zero_retention must be true or false"),
        (CLOUD + "max_output_tokens = 0", r"max_output_tokens must be a whole number"),
        (CLOUD.replace("https://", "ftp://"), r"base_url must begin with https"),
        (CLOUD.replace('["ACME_KEY"]', "[]"), r"nothing says when acme is live"),
        (CLOUD.replace('name = "acme"', ""), r"name must be a string; it is missing"),
        (CLOUD + '[[models]]\nmodel = "m"', r"acme\.toml, models 1: The prices of m must be a table"),
        (CLOUD + '[[models]]\nmodel = "m"\nprices = {input_per_mtok = "1"}', r"lack output_per_mtok"),
        ("name = ", r"acme\.toml cannot be read"),
    ],
)
def test_a_wrong_file_is_refused_with_file_field_and_mend(text, words, tmp_path):
    with pytest.raises(SetupError, match=words):
        load(tmp_path, text)


def test_two_files_may_not_have_one_name(tmp_path):
    (tmp_path / "other.toml").write_text(CLOUD)
    with pytest.raises(SetupError, match="Two files"):
        load(tmp_path, CLOUD)
