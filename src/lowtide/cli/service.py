"""The running market over HTTP: one client, and each of its problems as one plain line."""

import ipaddress
import json
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from lowtide.cli.say import CommandFailed
from lowtide.values.errors import FieldError

if TYPE_CHECKING:
    import httpx

TIMEOUT_S = 60.0


class Reply:
    """An answer of the market: its text as it came, and what it says."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.data: dict[str, Any] = json.loads(text)


class Service:
    """A client of one market. Every method raises CommandFailed with the line to show."""

    def __init__(self, url: str, key: str | None) -> None:
        import httpx

        self.url = url.rstrip("/")
        self._key = key
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise CommandFailed(f"{url} is no address of a market. Use one such as http://127.0.0.1:8080.")
        self._client = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(TIMEOUT_S, connect=5.0),
            trust_env=not _is_local(parts.hostname),
        )

    def get(self, path: str, **params: Any) -> Reply:
        """GET; parameters of None are left out."""
        return self._ask("GET", path, params=params)

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Reply:
        """POST."""
        return self._ask("POST", path, body=body)

    def patch(self, path: str, body: Mapping[str, Any]) -> Reply:
        """PATCH."""
        return self._ask("PATCH", path, body=body)

    def delete(self, path: str) -> Reply:
        """DELETE."""
        return self._ask("DELETE", path)

    def _ask(
        self, method: str, path: str, params: Mapping[str, Any] | None = None, body: Any = None
    ) -> Reply:
        sent = {name: value for name, value in (params or {}).items() if value is not None}
        with self._reached():
            answer = self._client.request(method, path, params=sent, json=body)
        self._refuse(answer)
        try:
            return Reply(answer.text)
        except ValueError:
            raise self._stranger(answer.status_code) from None

    def events(self, path: str, **params: Any) -> Iterator[tuple[str, str]]:
        """The (event, data) of a stream of server-sent events, until the market ends it; parameters of None are left
        out."""
        kind = "message"
        sent = {name: value for name, value in params.items() if value is not None}
        with self._opened(path, sent) as answer:
            for line in answer.iter_lines():
                if line.startswith("event: "):
                    kind = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    yield kind, line.removeprefix("data: ")

    def chunks(self, path: str, **params: Any) -> Iterator[bytes]:
        """A long answer, piece by piece."""
        with self._opened(path, params) as answer:
            yield from answer.iter_bytes()

    @contextmanager
    def _opened(self, path: str, params: Mapping[str, Any] | None = None) -> Iterator["httpx.Response"]:
        import httpx

        with (
            self._reached(),
            self._client.stream(
                "GET", path, params=params, timeout=httpx.Timeout(None, connect=5.0)
            ) as answer,
        ):
            if answer.is_error:
                answer.read()
            self._refuse(answer)
            yield answer

    @contextmanager
    def _reached(self) -> Iterator[None]:
        import httpx

        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout):
            raise CommandFailed(
                f"No market answers at {self.url}. Start one with `lowtide serve`.", code="no_market"
            ) from None
        except httpx.TimeoutException:
            raise CommandFailed(f"The market at {self.url} did not answer in {TIMEOUT_S:.0f} s.") from None
        except (httpx.TransportError, httpx.InvalidURL) as fault:
            raise CommandFailed(f"The connection to {self.url} broke: {fault}. Try again.") from None

    def _refuse(self, answer: "httpx.Response") -> None:
        if answer.is_success:
            return
        if answer.status_code == 401 and not self._key:
            raise CommandFailed(
                "No key was given. Set LOWTIDE_KEY, or pass --key; `lowtide keys create` makes one.",
                code="no_key",
            )
        try:
            found = answer.json()
            detail, code = str(found["detail"]), str(found["code"])
        except (ValueError, KeyError, TypeError):
            raise self._stranger(answer.status_code) from None
        errors = tuple(
            FieldError(str(e.get("pointer", "")), str(e.get("code", "")), str(e.get("message", "")))
            for e in found.get("errors") or ()
        )
        raise CommandFailed(detail, code=code, errors=errors)

    def _stranger(self, status: int) -> CommandFailed:
        return CommandFailed(
            f"{self.url} answered {status}, but not as a market does. Check LOWTIDE_URL or --url.",
            code="not_a_market",
        )


def _is_local(host: str) -> bool:
    """A proxy of the environment has no business between a user and the market on the same machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def every(service: Service, path: str) -> Iterator[dict[str, Any]]:
    """Every row of a list, page by page."""
    after = None
    while True:
        page = service.get(path, limit=200, after=after).data
        yield from page["data"]
        after = page["next"]
        if after is None:
            return


def provider_id(service: Service, name: str) -> str:
    """The id of a provider named by id or by name."""
    if name.startswith("prov_"):
        return name
    for row in every(service, "/v1/providers"):
        if row["name"] == name:
            return str(row["id"])
    raise CommandFailed(
        f"No provider {name}. List them with `lowtide providers list`.", code="unknown_provider"
    )


def json_file(path: Path) -> Any:
    """What a JSON file says. Raises CommandFailed for one that cannot be read."""
    try:
        return json.loads(path.read_text())
    except OSError as fault:
        raise CommandFailed(f"{path} cannot be read: {fault.strerror}.") from None
    except ValueError as fault:
        raise CommandFailed(f"{path} is not JSON: {fault}.") from None


def table_file(path: Path) -> Any:
    """What a TOML or JSON file says, by its ending. Raises CommandFailed for one that cannot be read."""
    if path.suffix != ".toml":
        return json_file(path)
    try:
        return json.loads(json.dumps(tomllib.loads(path.read_text()), default=str))
    except OSError as fault:
        raise CommandFailed(f"{path} cannot be read: {fault.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as fault:
        raise CommandFailed(f"{path} is not TOML: {fault}.") from None
