"""Fresh, migrated databases for tests, copied from a template that is migrated once a session."""

import asyncio
import shutil
import uuid
from pathlib import Path

from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

from lowtide.store import migrate
from lowtide.store.database import normalised_url


class SqliteDatabases:
    """Copies of one migrated file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._template = folder / "template.db"
        asyncio.run(migrate.upgrade(f"sqlite:///{self._template}"))

    async def fresh(self) -> str:
        copy = self._folder / f"{uuid.uuid4().hex}.db"
        shutil.copyfile(self._template, copy)
        return f"sqlite:///{copy}"

    async def empty(self) -> str:
        return f"sqlite:///{self._folder / uuid.uuid4().hex}.db"

    async def drop(self, url: str) -> None:
        file = Path(str(make_url(url).database))
        for path in file.parent.glob(file.name + "*"):
            path.unlink()


class PostgresDatabases:
    """Copies of one migrated database on a server, each dropped after its test."""

    def __init__(self, server_url: str) -> None:
        self._server = make_url(server_url)
        self._template = f"lowtide_{uuid.uuid4().hex}"
        asyncio.run(self._make_template())

    async def fresh(self) -> str:
        return await self._create(self._template)

    async def empty(self) -> str:
        return await self._create("template0")

    async def drop(self, url: str) -> None:
        await self._say(f"drop database if exists {make_url(url).database} with (force)")

    def close(self) -> None:
        asyncio.run(self.drop(self._url(self._template)))

    async def _make_template(self) -> None:
        await self._say(f"create database {self._template}")
        await migrate.upgrade(self._url(self._template))

    async def _create(self, template: str) -> str:
        name = f"lowtide_{uuid.uuid4().hex}"
        await self._say(f"create database {name} template {template}")
        return self._url(name)

    def _url(self, name: str) -> str:
        return self._server.set(database=name).render_as_string(hide_password=False)

    async def _say(self, statement: str) -> None:
        address = normalised_url(self._server.render_as_string(hide_password=False))
        engine = create_async_engine(address, isolation_level="AUTOCOMMIT")
        async with engine.connect() as connection:
            await connection.execute(text(statement))
        await engine.dispose()


Databases = SqliteDatabases | PostgresDatabases
