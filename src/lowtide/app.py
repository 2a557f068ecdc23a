"""The composition root: settings are read once, here, and the market is built from them."""

import contextlib
import fcntl
import os
import secrets
import tomllib
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import httpx
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.api.auth import PREFIX, key_hash, new_key
from lowtide.api.server import create_api
from lowtide.config import config_folder
from lowtide.exchange.conditions import FirstConditions
from lowtide.exchange.dispatch import Dispatcher
from lowtide.exchange.history import load_history
from lowtide.exchange.market import Market, Rules
from lowtide.exchange.observe import Observations
from lowtide.exchange.recover import recover
from lowtide.exchange.seal import BookKeeper
from lowtide.exchange.seeds import Seeds
from lowtide.exchange.stock import Stock
from lowtide.exchange.sweeps import Sweeps, guarded
from lowtide.exchange.task_types import TaskTypes
from lowtide.feeds.model_names import load_model_names
from lowtide.logs import configure_logging
from lowtide.market.rules import RULES
from lowtide.simulate.server import serving
from lowtide.simulate.upstream import Upstreams
from lowtide.store import accounts, migrate, providers
from lowtide.store.database import Database, normalised_url
from lowtide.store.listen import BookListener
from lowtide.store.tables import ApiKey
from lowtide.values.clock import Clock, SystemClock
from lowtide.values.errors import SetupError
from lowtide.values.ids import new_id
from lowtide.values.instants import micros
from lowtide.wire.registry import BATCH_WIRES, WIRES
from lowtide.wire.transport import Transport

_WHOLE_BOOK = 100_000
DEFAULT_DATABASE = "sqlite:///var/lowtide.db"


@dataclass(frozen=True, slots=True)
class Settings:
    """What an operator set: config/lowtide.toml, overridden by LOWTIDE_… variables."""

    database_url: str = DEFAULT_DATABASE
    host: str = "127.0.0.1"
    port: int = 8080
    root_path: str = ""
    operator_key: str | None = None
    allow_private_urls: bool = False
    rules: Rules = field(default_factory=Rules)
    config: Path = field(default_factory=config_folder)
    environment: Mapping[str, str] = field(default_factory=dict)


def read_settings(environment: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
    """The settings in force. Raises SetupError that names the file or variable at fault."""
    env = dict(os.environ if environment is None else environment)
    folder = Path(env.get("LOWTIDE_CONFIG", "") or config_folder())
    path = folder / "lowtide.toml"
    try:
        table = tomllib.loads(path.read_text()) if path.exists() else {}
    except tomllib.TOMLDecodeError as fault:
        raise SetupError(f"{path} is not TOML: {fault}. Mend that line.") from fault
    server, market = table.get("server", {}), table.get("market", {})
    private = _flag(env.get("LOWTIDE_ALLOW_PRIVATE_URLS"), bool(server.get("allow_private_urls", False)))
    rule = market.get("rule", "posted")
    if rule not in RULES:
        raise SetupError(f"market.rule in {path} is {rule!r}. Use one of: {', '.join(RULES)}.")
    values: dict[str, Any] = {
        "database_url": env.get("LOWTIDE_DATABASE_URL") or server.get("database_url", DEFAULT_DATABASE),
        "host": env.get("LOWTIDE_HOST") or server.get("host", "127.0.0.1"),
        "port": _port(env.get("LOWTIDE_PORT") or server.get("port", 8080)),
        "root_path": env.get("LOWTIDE_ROOT_PATH") or server.get("root_path", ""),
        "operator_key": env.get("LOWTIDE_OPERATOR_KEY") or None,
        "allow_private_urls": private,
        "rules": Rules(
            rule=rule,
            queue_s=int(market.get("queue_s", 60)),
            max_attempts=int(market.get("max_attempts", 6)),
            attempt_timeout_s=float(market.get("attempt_timeout_s", 120)),
            allow_private_urls=private,
            quotes_kept_days=_days(market, "quotes_kept_days", 7),
            minute_bars_kept_days=_days(market, "minute_bars_kept_days", 90),
            book_kept_days=_days(market, "book_kept_days", 7),
            round_s=_round_s(market.get("round_s", 900)),
        ),
        "config": folder,
        "environment": env,
    }
    return Settings(**(values | overrides))


def _flag(text: str | None, default: bool) -> bool:
    return default if text is None or not text.strip() else text.strip().lower() in ("1", "true", "yes", "on")


def _days(table: Mapping[str, Any], name: str, default: int) -> int:
    value = table.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 36_500:
        raise SetupError(f"market.{name} is {value!r}. Use a whole number of days, 1 or more.")
    return value


def _round_s(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not (value == 0 or 60 <= value <= 86_400):
        raise SetupError(
            f"market.round_s is {value!r}. Use seconds from 60 to 86400, or 0 for no call auctions."
        )
    return value


def _port(value: Any) -> int:
    try:
        port = int(value)
    except (TypeError, ValueError):
        port = -1
    if not 0 <= port < 65_536:
        raise SetupError(f"LOWTIDE_PORT is {value!r}. Use a number from 0 (any free port) to 65535.")
    return port


@dataclass(slots=True)
class Running:
    """A market that is up on this node."""

    market: Market
    dispatcher: Dispatcher
    sweeps: Sweeps
    made_key: str | None
    recovered: int


@asynccontextmanager
async def running_market(
    settings: Settings,
    clock: Clock | None = None,
    *,
    ticking: bool = True,
    stocked: bool = True,
    simulator_base: str | None = None,
) -> AsyncIterator[Running]:
    """Open the database, load the book, recover what a dead node left, and tick until the block ends.

    Without `ticking` the caller runs the sweeps (the demo and tests step the clock); without `stocked` no provider
    of config/ is brought in. Simulated providers (a demo's) get their upstreams at `simulator_base`, else here.
    """
    configure_logging()
    clock = clock or SystemClock()
    async with AsyncExitStack() as stack:
        stack.enter_context(exclusive(settings.database_url))
        await migrate.upgrade(settings.database_url)
        database = await Database.open(settings.database_url)
        stack.push_async_callback(database.close)
        if simulator_base is None:
            simulator_base = await _simulators(stack, database)
        transport = Transport()
        stack.push_async_callback(transport.aclose)
        # What the API received may lead anywhere: names are resolved, and addresses checked, where sockets are made.
        guarded = Transport(public_only=not settings.allow_private_urls)
        stack.push_async_callback(guarded.aclose)
        keeper = BookKeeper(database, clock, FirstConditions.load(settings.config))
        stack.push_async_callback(keeper.close)
        await keeper.start()
        market = Market(
            database=database,
            clock=clock,
            keeper=keeper,
            seeds=Seeds(database),
            observations=Observations(),
            task_types=TaskTypes(),
            wires={name: wire(transport) for name, wire in WIRES.items()},
            guarded_wires={name: wire(guarded) for name, wire in WIRES.items()},
            batch_wires={name: wire(transport) for name, wire in BATCH_WIRES.items()},
            guarded_batch_wires={name: wire(guarded) for name, wire in BATCH_WIRES.items()},
            feed_client=httpx.AsyncClient(transport=guarded),
            bid_client=httpx.AsyncClient(transport=guarded),
            model_names=load_model_names(settings.config / "models.toml"),
            rules=replace(settings.rules, simulator_base=simulator_base),
            node=f"node-{secrets.token_hex(6)}",
            credentials=settings.environment,
        )
        stack.push_async_callback(market.bidders.close)
        running = await _opened(market, settings, stocked=stocked)
        stack.push_async_callback(running.dispatcher.close)
        stack.push_async_callback(running.sweeps.feed_runs.close)
        stack.callback(running.sweeps.forecast_maker.close)
        if ticking and database.dialect == "postgresql":
            listener = BookListener(database, keeper.follow)
            stack.push_async_callback(listener.close)
            await listener.start()
        if ticking:
            scheduler = _scheduler(running.sweeps)
            stack.callback(scheduler.shutdown, wait=False)
        yield running


async def _opened(market: Market, settings: Settings, *, stocked: bool) -> Running:
    """See to the first account and key, load history and stock, and recover what was left running."""
    now, dispatcher = market.now(), Dispatcher()
    await market.database.writer.write(lambda conn: accounts.ensure_default_account(conn, now))
    made = await ensure_operator_key(market, settings.operator_key)
    await load_history(market)
    await market.bidders.refresh()
    stock = Stock(market, settings.config)
    if stocked:
        await stock.refresh()
    await market.keeper.extend(slice_size=_WHOLE_BOOK)
    sweeps = Sweeps(market, dispatcher, stock.refresh if stocked else None)
    await sweeps.batches.learn()
    await sweeps.life()
    alone = market.database.dialect == "sqlite"
    taken = await recover(market, dispatcher, micros(SystemClock().now()), alone=alone)
    return Running(market, dispatcher, sweeps, made, taken)


async def _simulators(stack: AsyncExitStack, database: Database) -> str | None:
    """Bring up the simulated upstreams of a demo's market; None where it has none."""
    async with database.read() as conn:
        simulated = any(provider.simulated for provider in await providers.list_providers(conn, limit=None))
    return await stack.enter_async_context(serving(Upstreams())) if simulated else None


def _scheduler(sweeps: Sweeps) -> AsyncIOScheduler:
    scheduler = AsyncIOScheduler(
        timezone="UTC", job_defaults={"coalesce": True, "misfire_grace_time": None, "max_instances": 1}
    )
    for name, (sweep, seconds) in sweeps.ticks().items():
        scheduler.add_job(guarded(name, sweep), "interval", seconds=seconds, id=name, name=name)
    scheduler.start()
    return scheduler


async def ensure_operator_key(market: Market, wanted: str | None) -> str | None:
    """See that an operator can get in: the key of LOWTIDE_OPERATOR_KEY, else one made now and returned to be shown once.

    Raises SetupError for a wanted key that is too short to be safe.
    """
    now = market.now()
    if wanted is not None and len(wanted) < 16:
        raise SetupError(
            "LOWTIDE_OPERATOR_KEY is shorter than 16 characters. Use a long random one, such as "
            f"{PREFIX}… with 40 more."
        )

    async def unit(conn: AsyncConnection) -> str | None:
        if wanted is not None:
            if await accounts.key_by_hash(conn, key_hash(wanted)) is not None:
                return None
        elif any(
            key.role == "operator" and key.revoked_at is None
            for key in await accounts.list_keys(conn, limit=200)
        ):
            return None
        secret = wanted or new_key()
        await accounts.add_key(
            conn,
            ApiKey(
                id=new_id("key", now),
                hash=key_hash(secret),
                shown=f"{secret[:7]}…{secret[-4:]}",
                name="first operator",
                role="operator",
                account_id="acct_default",
                created_at=now,
            ).model_dump(),
        )
        return None if wanted is not None else secret

    return await market.database.writer.write(unit)


@contextlib.contextmanager
def exclusive(database_url: str) -> Any:
    """Hold a SQLite file for this process alone: a second node would take over the first one's running tasks."""
    url = normalised_url(database_url)
    if url.get_backend_name() != "sqlite" or not url.database:
        yield
        return
    path = Path(url.database + ".lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    handle: IO[str]
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SetupError(
                f"{url.database} is being served by another process. Stop it first, or use PostgreSQL for "
                "several nodes."
            ) from None
        yield


def create_app(settings: Settings | None = None) -> FastAPI:
    """The ASGI application of one node; its market lives as long as the application."""
    chosen = settings or read_settings()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with running_market(chosen) as running:
            attach(app, running)
            yield

    return create_api(lifespan, chosen.root_path)


def attach(app: FastAPI, running: Running) -> None:
    """Hand a running market to an application."""
    app.state.market, app.state.dispatcher, app.state.running = running.market, running.dispatcher, running
