"""Signing as Standard Webhooks does it, and telling a signed message from any other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowtide.values.webhooks import BadSignature, new_secret, signed, verify

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NOW = 1_614_265_330
BODY = b'{"test": 2432232314}'


def code_of(headers, body=BODY, now=NOW, secret=SECRET):
    with pytest.raises(BadSignature) as caught:
        verify(secret, headers, body, now)
    return caught.value.code


def test_a_message_is_signed_as_the_published_example():
    headers = signed(SECRET, "msg_p5jXN8AQM9LWM0D4loKWxJek", NOW, BODY)
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@given(st.text(min_size=1, max_size=20), st.binary(max_size=200))
def test_what_is_signed_verifies_and_gives_its_id(message_id, body):
    secret = new_secret()
    assert verify(secret, signed(secret, message_id, NOW, body), body, NOW + 300) == message_id


@given(st.binary(max_size=50), st.binary(max_size=50))
def test_another_body_does_not(body, other):
    if body != other:
        assert code_of(signed(SECRET, "a", NOW, body), other) == "bad_signature"


def test_another_secret_id_or_time_does_not():
    headers = signed(SECRET, "a", NOW, BODY)
    assert code_of(headers, secret=new_secret()) == "bad_signature"
    assert code_of(headers | {"webhook-id": "b"}) == "bad_signature"
    assert code_of(headers | {"webhook-timestamp": str(NOW + 1)}) == "bad_signature"


def test_headers_are_found_however_they_are_written():
    headers = {name.title(): value for name, value in signed(SECRET, "a", NOW, BODY).items()}
    assert verify(SECRET, headers, BODY, NOW) == "a"


def test_one_signature_among_several_is_enough_but_only_of_the_known_version():
    headers = signed(SECRET, "a", NOW, BODY)
    right = headers["webhook-signature"]
    assert verify(SECRET, headers | {"webhook-signature": f"v1,AAAA v9,x {right}"}, BODY, NOW) == "a"
    assert code_of(headers | {"webhook-signature": right.replace("v1,", "v2,")}) == "bad_signature"


@pytest.mark.parametrize("at", ["", "x", "-5", "1e9", "９", str(NOW - 301), str(NOW + 301), "9" * 400])
def test_an_old_message_or_one_without_a_time_is_refused(at):
    assert code_of(signed(SECRET, "a", NOW, BODY) | {"webhook-timestamp": at}) == "bad_timestamp"


@pytest.mark.parametrize("missing", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_message_without_one_of_the_headers_is_unsigned(missing):
    headers = signed(SECRET, "a", NOW, BODY)
    del headers[missing]
    assert code_of(headers) == "unsigned"


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_not base64!"])
def test_what_is_no_secret_signs_nothing(secret):
    with pytest.raises(BadSignature) as caught:
        signed(secret, "a", NOW, BODY)
    assert caught.value.code == "bad_secret"
