"""JSON bodies, read strictly: what no field could hold is refused here by its place, before any field is looked at."""

import json
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar, get_args, get_origin

import orjson
from fastapi import HTTPException, Request, Response
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import Query
from fastapi.routing import APIRoute

from lowtide.values.errors import FieldError, InvalidRequest

MAX_DEPTH = 100
ANY_NAME = "NAME"
"""How a documented parameter's name ends where the client chooses the rest, as in label.NAME."""
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class StrictRequest(Request):
    """A request whose JSON is UTF-8 and RFC 8259 (no NaN), at most MAX_DEPTH deep, without NUL characters, and
    each field given once."""

    async def json(self) -> Any:
        """The body's value. Raises orjson.JSONDecodeError, and InvalidRequest that points at what is refused."""
        raw = await self.body()
        value = orjson.loads(raw)
        if b"\\u0000" in raw or raw.count(b"[") + raw.count(b"{") > MAX_DEPTH:
            refuse_odd(value)
        json.loads(raw, object_pairs_hook=_once_each, parse_int=str, parse_float=str)
        return value


class StrictRoute(APIRoute):
    """A route that takes JSON only, parameters that it knows, each once unless it is a list, and no NUL character in its
    path or query."""

    knows_its_query: ClassVar[bool] = True

    def get_route_handler(self) -> Handler:
        """FastAPI's handler, behind these checks."""
        handle, has_body = super().get_route_handler(), self.body_field is not None
        extra = [parameter["name"] for parameter in (self.openapi_extra or {}).get("parameters", [])]
        fields = [field for field in get_flat_params(self.dependant) if isinstance(field.field_info, Query)]
        known = {field.alias for field in fields}
        lists = {field.alias for field in fields if _takes_a_list(field.field_info.annotation)}
        prefixes = tuple(name.removesuffix(ANY_NAME) for name in extra)

        async def strict(request: Request) -> Response:
            if "\x00" in request.url.path or "\x00" in str(request.query_params) or b"%00" in _query(request):
                raise InvalidRequest(
                    "The path or query holds a NUL character. Remove it.", code="nul_character"
                )
            if self.knows_its_query:
                _refuse_unknown(request, known, prefixes)
                _refuse_repeated(request, lists)
            if has_body and _sends(request) and not _is_json(request):
                raise HTTPException(415, "Send JSON, with Content-Type: application/json")
            return await handle(StrictRequest(request.scope, request.receive))

        return strict


def _refuse_unknown(request: Request, known: set[str], prefixes: tuple[str, ...]) -> None:
    for name in request.query_params:
        if name in known or (prefixes and name.startswith(prefixes)):
            continue
        names = [*sorted(known), *(prefix + ANY_NAME for prefix in prefixes)]
        takes = f"It takes {', '.join(names)}." if names else "It takes none."
        text = f"No parameter {name[:80]!r} here. {takes}"
        raise InvalidRequest(
            text,
            code="unknown_parameter",
            errors=(FieldError(f"?{name[:80]}", "unknown_parameter", text),),
        )


def _takes_a_list(kind: Any) -> bool:
    return get_origin(kind) is list or any(_takes_a_list(part) for part in get_args(kind))


def _refuse_repeated(request: Request, lists: set[str]) -> None:
    """Refuse a parameter given twice that is no list: readers differ on which of the two counts."""
    seen: set[str] = set()
    for name, _ in request.query_params.multi_items():
        if name in seen and name not in lists:
            text = f"The parameter {name[:80]!r} is given twice, and one counts here. Send it once."
            raise InvalidRequest(
                text,
                code="duplicate_parameter",
                errors=(FieldError(f"?{name[:80]}", "duplicate_parameter", text),),
            )
        seen.add(name)


def _once_each(pairs: list[tuple[str, Any]]) -> None:
    """Refuse an object that gives a field twice: readers differ on which of the two counts."""
    names = {name for name, _ in pairs}
    if len(names) == len(pairs):
        return
    for name, _ in pairs:
        if name not in names:
            text = f"The field {name[:80]!r} is given twice in one object. Send it once."
            fault = InvalidRequest(
                text, code="duplicate_key", errors=(FieldError("", "duplicate_key", text),)
            )
            fault.status = 400
            raise fault
        names.remove(name)


def _query(request: Request) -> bytes:
    found: bytes = request.scope.get("query_string", b"")
    return found


def _sends(request: Request) -> bool:
    return request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers


def _is_json(request: Request) -> bool:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


def refuse_odd(value: Any) -> None:
    """Raise InvalidRequest (`too_deep`, `nul_character`) with the pointer of the first place that is at fault."""
    waiting: list[tuple[Any, tuple[str, ...]]] = [(value, ())]
    while waiting:
        found, path = waiting.pop()
        if len(path) > MAX_DEPTH:
            raise _refusal(
                "too_deep", path[:3], f"The body is nested more than {MAX_DEPTH} deep. Flatten it."
            )
        if isinstance(found, str) and "\x00" in found:
            raise _refusal("nul_character", path, "Text may not hold a NUL character. Remove it.")
        if isinstance(found, dict):
            if any("\x00" in name for name in found):
                raise _refusal("nul_character", path, "A name may not hold a NUL character. Remove it.")
            waiting += [(inner, (*path, name)) for name, inner in found.items()]
        elif isinstance(found, list):
            waiting += [(inner, (*path, str(index))) for index, inner in enumerate(found)]


def _refusal(code: str, path: tuple[str, ...], text: str) -> InvalidRequest:
    where = "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in path)
    return InvalidRequest(text, code=code, errors=(FieldError(where, code, text),))
