"""What on a spot lane counts as a take-back."""

import httpx
import orjson
import pytest

from lowtide.market.usage import Usage
from lowtide.wire.call import Call, CallFailed, Failure, FailureKind
from lowtide.wire.openai import OpenAIWire

K = FailureKind


async def failure(status: int, body: dict | bytes, *, preemptible: bool = True) -> Failure:
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    answer = httpx.Response(status, content=content, headers={"retry-after": "3"})
    call = Call(
        "https://provider.test/v1", "key", "m", {"messages": []}, 10, 5, "a1", preemptible=preemptible
    )
    with pytest.raises(CallFailed) as caught:
        await OpenAIWire(httpx.MockTransport(lambda request: answer)).complete(call)
    return caught.value.failure


@pytest.mark.parametrize("status", [410, 429, 503])
@pytest.mark.parametrize(
    "error",
    [
        {"code": "preempted"},
        {"code": "capacity_reclaimed", "message": "Gone."},
        {"type": "preempted", "code": None},
        {"type": "Preempted", "code": 503},
        {"type": "server_error", "code": "spot_interruption"},
    ],
)
async def test_a_code_or_type_that_says_so_is_a_take_back_under_any_of_its_statuses(status, error):
    found = await failure(status, {"error": error})
    assert (found.kind, found.provider_fault, found.possibly_billed) == (K.PREEMPTED, False, False)
    assert (found.status, found.retry_after_s) == (status, 3.0)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (503, {"error": {"code": "overloaded"}}, K.OVERLOADED),
        (429, {"error": {"type": "rate_limit_error"}}, K.RATE_LIMITED),
        (503, b"preempted", K.OVERLOADED),
        (503, {"error": "preempted"}, K.OVERLOADED),
        (503, b"[]", K.OVERLOADED),
    ],
)
async def test_what_does_not_say_so_is_what_it_is_on_any_lane(status, body, kind):
    assert (await failure(status, body)).kind is kind


async def test_on_a_lane_that_is_not_taken_back_the_code_means_nothing():
    assert (await failure(503, {"error": {"code": "preempted"}}, preemptible=False)).kind is K.OVERLOADED


async def test_a_late_error_under_status_200_may_be_a_take_back_too():
    assert (await failure(200, {"error": {"code": "preempted"}})).kind is K.PREEMPTED


@pytest.mark.parametrize(
    ("usage", "told"),
    [
        ({"prompt_tokens": 7, "completion_tokens": 3}, Usage(input=7, output=3)),
        ({"prompt_tokens": -7}, None),
        ("much", None),
        (None, None),
    ],
)
async def test_what_the_provider_counted_is_told_where_it_can_be_counted(usage, told):
    found = await failure(503, {"error": {"code": "preempted"}, "usage": usage})
    assert found.usage == told
