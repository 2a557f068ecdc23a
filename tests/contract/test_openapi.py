"""The contract as OpenAPI: every route says what it does and how it fails, and no generated request makes a 500."""

import asyncio
import shutil
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance

from lowtide.api.server import create_api
from lowtide.simulate.server import serving
from lowtide.simulate.upstream import Upstreams
from tests.contract.served import HELLO, OPERATOR_KEY, served_market

AUTH = {"authorization": f"Bearer {OPERATOR_KEY}"}
PUBLIC = {"/healthz", "/readyz", "/metrics"}
EXAMPLES = 12


@pytest.fixture(scope="module")
def url(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A market served on a loop of its own, with one offer and one task."""
    database = tmp_path_factory.mktemp("openapi") / "market.db"
    shutil.copyfile(template, database)
    found: list[str] = []
    ready, over = threading.Event(), threading.Event()

    async def serve() -> None:
        upstreams = Upstreams()
        async with (
            serving(upstreams) as upstream_url,
            served_market(database, upstreams, upstream_url) as served,
        ):
            await served.offer()
            await served.done(input=HELLO)
            found.append(served.url)
            ready.set()
            await asyncio.to_thread(over.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="market")
    thread.start()
    assert ready.wait(20)
    yield found[0]
    over.set()
    thread.join(20)


@pytest.fixture(scope="module")
def contract(url: str) -> dict[str, Any]:
    """The document that /docs shows."""
    answer: dict[str, Any] = httpx.get(f"{url}/openapi.json").json()
    return answer


def operations(contract: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Method, path and operation of every route."""
    for path, methods in contract["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def test_every_route_has_a_summary_a_description_and_a_tag(contract):
    for method, path, operation in operations(contract):
        assert operation.get("summary"), (method, path)
        assert operation.get("description"), (method, path)
        assert operation.get("tags"), (method, path)


def test_every_route_documents_its_error_codes_as_problems(contract):
    for method, path, operation in operations(contract):
        wanted = {"422"} if path in PUBLIC else {"401", "403", "422"}
        if "requestBody" in operation:
            wanted |= {"400", "413", "415"}
        if "{" in path:
            wanted |= {"404"}
        assert wanted <= operation["responses"].keys(), (method, path)
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                assert list(response["content"]) == ["application/problem+json"], (method, path, status)


def test_every_post_takes_an_idempotency_key_but_those_that_write_nothing(contract):
    for method, path, operation in operations(contract):
        if method == "post" and not path.endswith(("/estimate", "/replay")):
            names = {parameter["name"] for parameter in operation.get("parameters", [])}
            assert "idempotency-key" in names, path


def test_every_route_under_v1_asks_for_a_key(contract):
    for method, path, operation in operations(contract):
        assert bool(operation.get("security")) == path.startswith("/v1"), (method, path)


def test_every_successful_answer_names_its_media_type(contract):
    for method, path, operation in operations(contract):
        answers = [r for status, r in operation["responses"].items() if status.startswith("2")]
        assert answers, (method, path)
        assert all(answer.get("content") for answer in answers), (method, path)


OPERATIONS = [
    (method, path)
    for method, path, _ in operations(create_api(lambda _app: nullcontext()).openapi())  # type: ignore[arg-type,return-value]
    if not path.endswith(("/stream", "/events"))
]
"""All but the streams, which end only with their client."""


@pytest.fixture(scope="module")
def loaded(url: str) -> Any:
    """The live schema."""
    return schemathesis.openapi.from_url(f"{url}/openapi.json")


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_no_generated_request_makes_a_server_error(loaded, method, path):
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=loaded[path][method].as_strategy())
    def check(case: schemathesis.Case) -> None:
        checks = [not_a_server_error, content_type_conformance]
        case.call_and_validate(headers=AUTH, checks=checks, timeout=20)

    check()
