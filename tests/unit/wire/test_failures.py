from datetime import UTC, datetime

import httpx
import pytest

from lowtide.wire.call import FailureKind
from lowtide.wire.failures import SORTING, kind_of_exception, kind_of_status, retry_after

K = FailureKind
NOW = datetime(2026, 11, 24, 6, tzinfo=UTC)


@pytest.mark.parametrize(
    ("status", "code", "message", "kind"),
    [
        (301, None, "", K.MODEL_MISSING),
        (400, None, "", K.CALLER_ERROR),
        (400, "invalid_value", "Invalid value", K.CALLER_ERROR),
        (400, "context_length_exceeded", "", K.CONTEXT_TOO_LONG),
        (400, "string_above_max_length", "", K.CONTEXT_TOO_LONG),
        (400, None, "This model's maximum context length is 8192 tokens.", K.CONTEXT_TOO_LONG),
        (400, "400", "Prompt is too long: 9000 tokens", K.CONTEXT_TOO_LONG),
        (401, "invalid_api_key", "", K.REFUSED_CREDENTIAL),
        (402, None, "", K.REFUSED_CREDENTIAL),
        (403, None, "", K.REFUSED_CREDENTIAL),
        (404, None, "", K.MODEL_MISSING),
        (400, "model_not_found", "", K.MODEL_MISSING),
        (405, None, "", K.MODEL_MISSING),
        (408, None, "", K.ANSWER_TIMEOUT),
        (409, None, "", K.OVERLOADED),
        (413, None, "", K.CONTEXT_TOO_LONG),
        (415, None, "", K.CALLER_ERROR),
        (422, None, "", K.CALLER_ERROR),
        (429, "rate_limit_exceeded", "", K.RATE_LIMITED),
        (429, "insufficient_quota", "", K.REFUSED_CREDENTIAL),
        (498, "capacity_exceeded", "", K.OVERLOADED),
        (500, None, "", K.SERVER_ERROR),
        (502, None, "", K.SERVER_ERROR),
        (503, None, "", K.OVERLOADED),
        (504, None, "", K.ANSWER_TIMEOUT),
        (524, None, "", K.ANSWER_TIMEOUT),
        (529, None, "", K.OVERLOADED),
    ],
)
def test_a_status_with_its_code_and_words_has_one_kind(status, code, message, kind):
    assert kind_of_status(status, code, message) is kind


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (httpx.ConnectError("refused"), K.CONNECT_FAILED),
        (httpx.UnsupportedProtocol("ftp"), K.CONNECT_FAILED),
        (httpx.ConnectTimeout("slow"), K.CONNECT_TIMEOUT),
        (httpx.PoolTimeout("full"), K.CONNECT_TIMEOUT),
        (httpx.ReadTimeout("slow"), K.ANSWER_TIMEOUT),
        (httpx.WriteTimeout("slow"), K.ANSWER_TIMEOUT),
        (httpx.ReadError("reset"), K.CUT),
        (httpx.RemoteProtocolError("gone"), K.CUT),
        (httpx.DecodingError("no gzip"), K.MALFORMED),
    ],
)
def test_a_transports_error_has_one_kind(fault, kind):
    assert kind_of_exception(fault) is kind


def test_every_kind_is_sorted():
    assert set(SORTING) == set(FailureKind)


def test_only_the_callers_own_error_is_not_tried_elsewhere():
    assert {kind for kind, how in SORTING.items() if not how.retry_elsewhere} == {K.CALLER_ERROR}


def test_the_callers_own_errors_and_take_backs_harm_nobodys_health():
    assert {kind for kind, how in SORTING.items() if not how.provider_fault} == {
        K.CALLER_ERROR,
        K.CONTEXT_TOO_LONG,
        K.PREEMPTED,
    }


def test_what_may_have_been_done_may_have_been_billed():
    assert {kind for kind, how in SORTING.items() if how.possibly_billed} == {
        K.ANSWER_TIMEOUT,
        K.CUT,
        K.MALFORMED,
        K.EMPTY,
    }


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "5"}, 5.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "-5"}, 0.0),
        ({"retry-after": "Tue, 24 Nov 2026 06:00:30 GMT"}, 30.0),
        ({"retry-after": "Tue, 24 Nov 2026 05:00:00 GMT"}, 0.0),
        ({"retry-after": "Tue, 24 Nov 2026 06:00:30"}, 30.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "1"}, 1.0),
    ],
)
def test_the_wait_is_read_in_every_form(headers, seconds):
    assert retry_after(httpx.Headers(headers), NOW) == seconds
