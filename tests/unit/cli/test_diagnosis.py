"""What the doctor says of a database that the service does not use."""

from pathlib import Path

import pytest

from lowtide.cli.diagnose_database import check_database
from lowtide.cli.findings import Serving
from lowtide.store import book, migrate
from lowtide.store.database import Database

DIGEST = b"\x01" * 32
HERE = "http://127.0.0.1:9000"


async def test_a_missing_database_is_made_by_serve_only_where_no_service_answers(tmp_path: Path):
    url = f"sqlite:///{tmp_path}/none.db"
    alone = (await check_database(url, None))[0]
    beside = (await check_database(url, Serving(HERE, 3, None)))[0]
    assert (alone.state, alone.mend) == ("unset", "`lowtide serve` makes it")
    assert (beside.state, "serve`" in (beside.mend or "")) == ("unset", False)
    assert f"the service at {HERE} uses another" in beside.detail


@pytest.mark.parametrize(
    ("serving", "same"),
    [
        (Serving(HERE, 1, DIGEST.hex()), True),
        (Serving(HERE, 1, None), True),
        (Serving(HERE, 1, "02" * 32), False),
        (Serving(HERE, 2, None), False),
    ],
)
async def test_a_database_is_the_services_where_it_has_its_book(tmp_path: Path, serving: Serving, same: bool):
    url = f"sqlite:///{tmp_path}/market.db"
    await migrate.upgrade(url)
    database = await Database.open(url)
    await database.writer.write(lambda conn: book.add_version(conn, 1, DIGEST, 0, []))
    await database.close()
    found = (await check_database(url, serving))[0]
    assert found.state == "ok"
    assert ("uses another" not in found.detail) == same
