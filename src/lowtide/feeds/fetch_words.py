"""How a fetch names itself to servers, and what it says to people where it reaches none."""

import socket
import ssl
from functools import cache
from importlib.metadata import PackageNotFoundError, version

import httpx

_MIB = 1024 * 1024
_PORTS = {"http": 80, "https": 443}


@cache
def user_agent() -> str:
    """`lowtide/VERSION`; without the version where the program runs without being installed."""
    try:
        return f"lowtide/{version('lowtide')}"
    except PackageNotFoundError:
        return "lowtide"


def size(count: int) -> str:
    """A number of bytes: 32 MiB, or 1,500 bytes."""
    return f"{count // _MIB} MiB" if count and count % _MIB == 0 else f"{count:,} bytes"


def unreachable(fault: httpx.RequestError) -> str:
    """Why a server was not reached, by the cause underneath; in the transport's words where that is none of these."""
    url = fault.request.url
    place = url.netloc.decode() if url.port is not None else f"{url.netloc.decode()}:{_PORTS[url.scheme]}"
    for cause in _causes(fault):
        if isinstance(cause, ssl.SSLError):
            return f"{place} does not speak TLS as it should ({cause.strerror or cause})"
        if isinstance(cause, socket.gaierror):
            return f"the host {url.host} cannot be resolved. Check its name"
        if isinstance(cause, ConnectionRefusedError):
            return f"nothing answers at {place}"
    return str(fault)


def _causes(fault: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while fault is not None and fault not in found:
        found.append(fault)
        fault = fault.__cause__ or fault.__context__
    return found
