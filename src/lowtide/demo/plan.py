"""What a demo plays: when its day began, on which clock, with which tickets; kept beside its database for `--resume`."""

import secrets
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import orjson

from lowtide.simulate.desk import Ticket, load_desk, plan_day
from lowtide.values.errors import SetupError
from lowtide.values.instants import micros

LATE_EVENING = 23
"""The demo's desk stands where it is now this hour: the night tariffs have begun, and some holds wait for midnight."""
MORNING = 8
FOLDER = Path("var/demo")


@dataclass(frozen=True, slots=True)
class Plan:
    """A day of the desk: its start (RFC 3339), the zone of its clock, the seed and number of its tickets."""

    start: str
    zone: str
    seed: int
    tickets: int
    operator_key: str

    @property
    def begins(self) -> datetime:
        """The start on the desk's clock."""
        return datetime.fromisoformat(self.start).astimezone(ZoneInfo(self.zone))

    @property
    def ends(self) -> datetime:
        """24 hours later."""
        return self.begins + timedelta(hours=24)

    def day(self, config: Path) -> list[Ticket]:
        """The day's tickets, by arrival."""
        return plan_day(load_desk(config / "demo" / "desk.toml"), self.seed, self.tickets, self.begins)

    def morning_after(self, arrival_us: int) -> int:
        """The next 08:00 on the desk's clock after an instant (µs): when answers that may wait are due."""
        arrived = datetime.fromtimestamp(arrival_us / 1_000_000, tz=UTC).astimezone(ZoneInfo(self.zone))
        morning = arrived.replace(hour=MORNING, minute=0, second=0, microsecond=0)
        return micros(morning if morning > arrived else morning + timedelta(days=1))


def new_plan(now: datetime, seed: int, tickets: int) -> Plan:
    """A day that ends now."""
    offset = (LATE_EVENING - now.astimezone(UTC).hour + 11) % 24 - 11
    zone = f"Etc/GMT{-offset:+d}" if offset else "Etc/GMT"
    start = (now - timedelta(hours=24)).astimezone(UTC)
    return Plan(start.isoformat(), zone, seed, tickets, "lt_demo_" + secrets.token_urlsafe(24))


def keep_plan(folder: Path, plan: Plan) -> None:
    """Write the plan for `--resume`; it holds the demo's key, so only its owner may read it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "plan.json"
    path.touch(mode=0o600)
    path.write_bytes(orjson.dumps(asdict(plan)))


def kept_plan(folder: Path) -> Plan:
    """The plan of a demo that was begun. Raises SetupError where there is none."""
    path = folder / "plan.json"
    if not path.exists() or not database_file(folder).exists():
        raise SetupError(f"There is no demo to resume in {folder}. Start one with `lowtide demo`.")
    return Plan(**orjson.loads(path.read_bytes()))


def database_file(folder: Path) -> Path:
    """Where the demo's market stands."""
    return folder / "lowtide.db"


def clean(folder: Path) -> None:
    """Delete an earlier demo's files, and nothing else."""
    for name in ("lowtide.db", "lowtide.db-wal", "lowtide.db-shm", "lowtide.db.lock", "plan.json"):
        (folder / name).unlink(missing_ok=True)
