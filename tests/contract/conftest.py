"""Real servers on free ports: simulated providers, and a market before them."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lowtide.simulate.clock import SteppedClock
from lowtide.simulate.server import serving
from lowtide.simulate.upstream import Upstreams
from tests.contract.served import Served, served_market
from tests.contract.stepping import START
from tests.databases import SqliteDatabases


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy."""
    folder = tmp_path_factory.mktemp("template")
    SqliteDatabases(folder)
    return folder / "template.db"


@pytest.fixture
def upstreams() -> Upstreams:
    """The simulated providers; an answer has 40 tokens unless the request's limit cuts it."""
    return Upstreams(output_tokens=lambda _body: 40)


@pytest.fixture
async def upstream_url(upstreams: Upstreams) -> AsyncIterator[str]:
    """Where they are served."""
    async with serving(upstreams) as url:
        yield url


@pytest.fixture
async def service(
    upstreams: Upstreams, upstream_url: str, template: Path, tmp_path: Path
) -> AsyncIterator[Served]:
    """A ticking market with an empty book."""
    database = tmp_path / "market.db"
    shutil.copyfile(template, database)
    async with served_market(database, upstreams, upstream_url) as served:
        yield served


@pytest.fixture
async def stepped(
    upstreams: Upstreams, upstream_url: str, template: Path, tmp_path: Path
) -> AsyncIterator[tuple[Served, SteppedClock]]:
    """A market whose clock stands still until it is stepped, and the clock."""
    database, clock = tmp_path / "market.db", SteppedClock(START)
    shutil.copyfile(template, database)
    async with served_market(database, upstreams, upstream_url, clock=clock) as served:
        yield served, clock
