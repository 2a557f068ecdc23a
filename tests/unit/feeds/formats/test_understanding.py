"""Whatever comes: guessed, understood, or refused with a sentence."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowtide.feeds.formats import FORMATS, understand
from lowtide.values.errors import BadValue
from tests.unit.feeds.formats.snapshots import context, openrouter_models, read

MODEL = {"id": "a", "pricing": {"prompt": "0.000001", "completion": "0"}}
SOUND = {
    "lowtide": {"format": "lowtide/1", "models": [{"model": "a"}]},
    "openrouter": {"data": [{**MODEL, "architecture": {}}]},
    "openrouter_endpoints": {"data": {"id": "a", "endpoints": [{"tag": "x"}]}},
    "openrouter_provider": {"data": [{"id": "a", "pricing": [{"type": "prompt", "cost_usd": "0"}]}]},
    "litellm": {"acme/a": {"litellm_provider": "acme", "mode": "chat"}},
    "openai_models": {"data": [MODEL]},
    "csv": "model,input_per_mtok,output_per_mtok\na,1,2\n",
}


def code_of(document, format=None):
    with pytest.raises(BadValue) as fault:
        read(document, format)
    assert fault.value.detail.endswith(".")
    return fault.value.code


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_guessed_from_its_document_and_no_other(name):
    reading = read(SOUND[name])
    assert (reading.format, len(reading.listings), reading.refused) == (name, 1, ())
    assert FORMATS[name].about
    data = (SOUND[name] if name == "csv" else json.dumps(SOUND[name])).encode()
    assert FORMATS[name].looks_like(data)
    assert FORMATS[name].read(data, context()) == reading


def test_a_document_that_is_none_is_refused_with_what_to_do():
    assert code_of("") == "empty_feed"
    assert code_of(" \n") == "empty_feed"
    assert code_of([]) == "empty_feed"
    assert code_of({"data": []}) == "empty_feed"
    assert code_of('{"data": [') == "invalid_json"
    assert code_of("[NaN]") == "invalid_json"
    assert code_of("<html></html>") == "unknown_format"
    assert code_of(b"\xff\xfe\x00") == "unknown_format"
    assert code_of({"error": "no such page"}) == "unknown_format"
    assert code_of(SOUND["csv"], "pdf") == "unknown_format"


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in ("csv", "openai_models")])
def test_a_format_that_is_named_and_not_met_is_refused(name):
    assert code_of({"models": 5}, name) == "not_this_format"
    assert code_of("hello", name) == "invalid_json"


def test_a_wrong_name_is_answered_with_the_right_one():
    with pytest.raises(BadValue, match="It looks like litellm"):
        read(SOUND["litellm"], "lowtide")


@pytest.mark.parametrize("number", ["1e999999999", "1e-999999999", "9" * 4_000, "-0.0"])
def test_a_number_beyond_reason_is_refused_alone(number):
    entry = '{"id": "a", "architecture": {}, "context_length": NUMBER, "pricing": {"prompt": NUMBER}}'
    text = '{"data": [' + entry.replace("NUMBER", number) + ', {"id": "b", "architecture": {}}]}'
    assert "b" in [one.upstream_model for one in read(text).listings]


def test_a_number_that_no_decimal_holds_is_no_json():
    assert code_of("[1E+99999999999999999999]") == "invalid_json"
    assert code_of("[" + "9" * 5_000 + "]") == "invalid_json"


def test_a_flood_of_brackets_and_text_that_is_not_unicode_do_no_harm():
    assert code_of("[" * 100_000) == "invalid_json"
    nested = MODEL
    for _ in range(200):
        nested = {"id": "deep", "more": nested}
    reading = read({"data": [nested, {"id": "\ud800"}, {**MODEL, "note": "\ud800"}, MODEL]})
    assert [r.code for r in reading.refused] == ["too_deep", "bad_name", "bad_text"]
    assert [one.model for one in reading.listings] == ["a"]


def test_the_hash_of_an_entry_is_that_of_its_content_however_it_was_written():
    first = read('{"data": [{"id": "a", "architecture": {}, "created": 1.50}]}').listings[0]
    second = read('{"data":[{"created":15e-1,"architecture":{},"id":"a"}]}').listings[0]
    other = read('{"data":[{"created":1.6,"architecture":{},"id":"a"}]}').listings[0]
    assert first.raw == second.raw != other.raw


FIELDS = """
    id model models data format pricing endpoints prompt completion overrides min_prompt_tokens utc_start utc_end when
    prompt_tokens gte not anyOf allOf cost_usd type unit capacity value per is_free discount_to_user deprecation_date
    litellm_provider mode input_cost_per_token off_peak_pricing windows hours_utc weekdays weekday_timezone range
    tiered_pricing prices curve tariff zone steps above_tokens architecture output_modalities context_length p50 tag
    latency_last_30m status currency
"""
WORDS = ["-1", "0.000001", "2.5", "EUR", "2026-11-26", "00:00-01:00", "lowtide/1", "chat", "acme", "1e999"]
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(WORDS),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=6) | st.sampled_from(FIELDS.split()), inner, max_size=4)
    ),
    max_leaves=20,
)


def survives(data):
    for format in (None, *FORMATS):
        with suppress(BadValue):
            understand(data, format, context())


@given(
    st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass"))
)
def test_any_bytes_are_understood_or_refused(data):
    survives(data)


@given(ANYTHING)
def test_any_json_is_understood_or_refused(value):
    survives(json.dumps(value).encode())


@given(st.text(alphabet='abc,;\t"\n\r 0159.-e\x00é', max_size=80))
def test_any_table_is_understood_or_refused(rows):
    survives(f"model,input_per_mtok,output_per_mtok,lane\n{rows}".encode())


@given(st.sampled_from([name for name in FORMATS if name != "csv"]), st.data())
def test_a_sound_document_with_one_value_replaced_is_understood_or_refused(name, data):
    document = json.loads(json.dumps(RICH[name]))
    spots = list(places(document))
    holder, key = data.draw(st.sampled_from(spots))
    holder[key] = data.draw(ANYTHING)
    survives(json.dumps(document).encode())


def places(value):
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield value, key
        yield from places(part)


RICH = {
    **SOUND,
    "lowtide": {
        "format": "lowtide/1",
        "currency": "USD",
        "models": [
            {
                "model": "a",
                "lane": "flex",
                "capacity": {"concurrency": 1},
                "latency": {"p50_ms": 1},
                "quality_claims": [{"domain": "code", "quality": "0.5", "sample_size": 1}],
                "prices": {"input_per_mtok": "1", "steps": [{"above_tokens": 5, "input_per_mtok": "2"}]},
                "tariff": {
                    "zone": "UTC",
                    "holidays": ["2026-11-26"],
                    "effective_from": "2026-11-25",
                    "windows": [{"start": "22:00", "end": "06:00", "days": ["mon-fri"], "multiplier": "0.5"}],
                },
            },
            {
                "model": "b",
                "curve": [{"prices": {"input_per_mtok": "1"}, "valid_from": "2026-11-26T00:00:00Z"}],
            },
        ],
    },
    "openrouter": openrouter_models(1)
    | {
        "data": [
            {
                **openrouter_models(1)["data"][0],
                "pricing": {
                    "prompt": "0.000001",
                    "overrides": [
                        {"min_prompt_tokens": 5, "utc_start": 0, "utc_end": 600, "prompt": "0.000002"}
                    ],
                },
            }
        ]
    },
    "openrouter_endpoints": {
        "data": {
            "id": "a",
            "architecture": {"input_modalities": ["text"]},
            "endpoints": [{"tag": "x/flex", "status": 0, **MODEL, "latency_last_30m": {"p50": 1, "p90": 2}}],
        }
    },
    "openrouter_provider": {
        "data": [
            {
                "id": "a",
                "discount_to_user": 0.1,
                "datacenters": ["us"],
                "capacity": [{"type": "requests", "unit": "request", "per": "hour", "value": 600}],
                "pricing": [
                    {
                        "type": "prompt",
                        "unit": "token",
                        "cost_usd": "0.000001",
                        "utc_start": 0,
                        "utc_end": 600,
                        "overrides": [{"when": {"prompt_tokens": {"gte": 5}}, "cost_usd": "0.000002"}],
                    }
                ],
            }
        ]
    },
    "litellm": {
        "acme/a": {
            "litellm_provider": "acme",
            "mode": "chat",
            "deprecation_date": "2027-01-01",
            "input_cost_per_token": 1e-06,
            "input_cost_per_token_above_200k_tokens_flex": 2e-06,
            "tiered_pricing": [{"range": [0, 5], "input_cost_per_token": 1e-06}],
            "off_peak_pricing": {
                "hours_utc": "00:00-01:00",
                "weekday_timezone": "Asia/Shanghai",
                "windows": [{"hours_utc": ["03:00-04:00"], "weekdays": [1, "tue"]}],
                "input_cost_per_token": 5e-07,
            },
        }
    },
}
