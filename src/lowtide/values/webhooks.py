"""Standard Webhooks: signed messages, by a secret that both sides know (standardwebhooks.com)."""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Mapping

from lowtide.values.errors import BadValue

PREFIX = "whsec_"
TOLERANCE_S = 300
_SECRET_BYTES = 32


class BadSignature(BadValue):
    """A message that was not signed with the secret, or too long ago."""


def new_secret() -> str:
    """A fresh secret, `whsec_` and 32 random bytes in base64."""
    return PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def signed(secret: str, message_id: str, at_s: int, body: bytes) -> dict[str, str]:
    """The headers that sign a message: `webhook-id`, `webhook-timestamp` (Unix seconds) and `webhook-signature`.

    Raises BadSignature (`bad_secret`) where the secret is none.
    """
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(at_s),
        "webhook-signature": "v1," + _signature(secret, message_id, str(at_s), body),
    }


def verify(
    secret: str, headers: Mapping[str, str], body: bytes, now_s: int, tolerance_s: int = TOLERANCE_S
) -> str:
    """The id of a message that was signed with the secret at most `tolerance_s` from now.

    Raises BadSignature: `unsigned` (a header is missing), `bad_timestamp`, `bad_signature`, `bad_secret`.
    """
    given = {name.lower(): value for name, value in headers.items()}
    try:
        message_id, at = given["webhook-id"], given["webhook-timestamp"]
        signatures = given["webhook-signature"]
    except KeyError as missing:
        raise BadSignature(
            "unsigned", f"The header {missing.args[0]} is missing: the message is not signed."
        ) from None
    if not (at.isascii() and at.isdecimal() and len(at) < 16) or abs(now_s - int(at)) > tolerance_s:
        raise BadSignature(
            "bad_timestamp",
            f"webhook-timestamp {at[:20]!r} is more than {tolerance_s} s from now. Check both clocks.",
        )
    expected = _signature(secret, message_id, at, body).encode()
    # All are compared, each in constant time: a secret that is being changed signs twice.
    matches = [
        hmac.compare_digest(expected, signature.encode())
        for version, _, signature in (part.partition(",") for part in signatures.split())
        if version == "v1"
    ]
    if not any(matches):
        raise BadSignature("bad_signature", "The signature is not of this secret and body.")
    return message_id


def _signature(secret: str, message_id: str, at: str, body: bytes) -> str:
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        raise BadSignature("bad_secret", f"A secret is {PREFIX} and base64. This one is not.")
    content = b".".join((message_id.encode(), at.encode(), body))
    return base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()
