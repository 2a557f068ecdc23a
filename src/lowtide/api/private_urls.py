"""A URL received by the API may not lead into the host's own network, unless the operator allows it."""

import asyncio
import ipaddress
import socket
from urllib.parse import urlsplit

from lowtide.values.errors import FieldError, InvalidRequest


async def refuse_private(url: str, pointer: str, *, allowed: bool) -> None:
    """Raise InvalidRequest (`private_url`, `bad_url`) where the URL's host is loopback, private, link-local or unknown."""
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
        found = await asyncio.get_running_loop().getaddrinfo(host, port or 443, type=socket.SOCK_STREAM)
        addresses = {str(entry[4][0]).partition("%")[0] for entry in found}
    except OSError:
        raise _refusal(
            "bad_url",
            pointer,
            f"The host {host} cannot be resolved. Check its name, or set "
            "LOWTIDE_ALLOW_PRIVATE_URLS=true to take any URL.",
        ) from None
    for address in addresses:
        if not ipaddress.ip_address(address).is_global:
            said = f"{host} is" if host == address else f"{host} resolves to {address},"
            raise _refusal(
                "private_url",
                pointer,
                f"{said} an address of this machine or a private network. Describe local providers in "
                "config/providers/, or set LOWTIDE_ALLOW_PRIVATE_URLS=true.",
            )


def _refusal(code: str, pointer: str, text: str) -> InvalidRequest:
    return InvalidRequest(text, code=code, errors=(FieldError(pointer, code, text),))
