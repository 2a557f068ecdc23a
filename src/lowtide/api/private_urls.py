"""A URL received by the API may not lead into the host's own network, unless the operator allows it."""

from urllib.parse import urlsplit

from lowtide.values.addresses import PrivateAddress
from lowtide.values.errors import FieldError, InvalidRequest
from lowtide.wire.transport import Resolve, addresses_of, refuse_private_among

_ELSEWHERE = {
    "/base_url": "Describe local providers in config/providers/, or set LOWTIDE_ALLOW_PRIVATE_URLS=true."
}
_ALLOW = "Set LOWTIDE_ALLOW_PRIVATE_URLS=true to let the market call such addresses."


async def refuse_private(url: str, pointer: str, *, allowed: bool, resolve: Resolve = addresses_of) -> None:
    """Raise InvalidRequest (`private_url`, `bad_url`) where the URL's host has an address that is not public, or none.

    This is for a word at the door: a name may resolve to another address later, so what connects checks again
    (`Transport(public_only=True)`).
    """
    if allowed:
        return
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host:
        raise _refusal(
            "bad_url", pointer, f"{url!r} has no host. Send one such as https://api.example.com/v1."
        )
    try:
        refuse_private_among(host, await resolve(host, port or 443))
    except OSError:
        raise _refusal(
            "bad_url",
            pointer,
            f"The host {host} cannot be resolved. Check its name.",
        ) from None
    except PrivateAddress as fault:
        raise _refusal(
            "private_url",
            pointer,
            f"{fault} {_ELSEWHERE.get(pointer, _ALLOW)}",
        ) from None


def _refusal(code: str, pointer: str, text: str) -> InvalidRequest:
    return InvalidRequest(text, code=code, errors=(FieldError(pointer, code, text),))
