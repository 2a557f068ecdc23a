"""What goes wrong in a simulated week, by seed: sellers, their prices, and every fault with its hour. No market here.

Truth is µs from NOW on; the market's clock shows truth + offset. One machine (restarts, clock steps) and several
providers (outages, withdrawals, lost feeds). Half of the faults strike at a task's worst minute.
"""

from dataclasses import dataclass, field, replace
from random import Random

from lowtide.market.book import Book, Row
from lowtide.market.deferral.safety import latest_start
from lowtide.market.task import Task
from tests.market_builder import NOW, book, decide, offer, quote, task

SECOND, MINUTE, HOUR, DAY = 1_000_000, 60_000_000, 3_600_000_000, 86_400_000_000
WEEK = 7 * DAY
RESTART_US, LEAP_US = 20 * SECOND, 20 * SECOND
"""The longest restart (a dead node's lease and the look that finds it end within), and the longest small step forward."""
APART_US = 2 * HOUR
"""Two faults of the machine, or two providers' outages in a week of single ones, lie at least so far apart."""


@dataclass(frozen=True)
class Outage:
    """Calls to the provider fail: at once, or (hangs) only when they are given up."""

    provider: str
    begin: int
    end: int
    hangs: bool


@dataclass
class Faults:
    """All that goes wrong, in truth time: `down` the machine is off, `steps` (at, by) of its clock."""

    down: list[tuple[int, int]] = field(default_factory=list)
    steps: list[tuple[int, int]] = field(default_factory=list)
    outages: list[Outage] = field(default_factory=list)
    gone: list[tuple[str, int]] = field(default_factory=list)
    """Providers that withdraw, or whose feed is lost, and when their offers are out."""

    def shown(self, at: int) -> int:
        """What the market's clock shows at an instant."""
        return at + sum(by for step, by in self.steps if step <= at)


@dataclass
class World:
    """One week: tasks with their arrival, the book's versions from their instants on, and the faults."""

    seed: int
    tasks: list[tuple[int, Task]]
    versions: list[tuple[int, Book]]
    faults: Faults
    lapses: dict[str, int]
    """Feeds that are lost, by provider: when their last quotes lapse."""


def draw(seed: int) -> World:
    """The week of a seed."""
    dice = Random(seed)
    rows, feeds = _rows(dice)
    providers = sorted({row.offer.provider for row in rows})
    tasks = [_task(dice, number) for number in range(dice.randint(4, 8))]
    tasks.sort(key=lambda one: one[0])
    faults = Faults()
    victims = providers if dice.random() < 0.3 else [dice.choice(providers)]
    worst = [_worst(dice, arrival, wanted, book(*rows)) for arrival, wanted in tasks]
    for number in range(dice.randint(len(tasks), 3 * len(tasks))):
        at = (
            worst[number % len(tasks)] + round(dice.gauss(0, 15) * SECOND)
            if dice.random() < 0.8
            else _when(dice)
        )
        if dice.random() < 0.5:
            _machine(dice, faults, max(NOW, at))
        else:
            _provider(dice, faults, max(NOW, at), victims, feeds, single=victims != providers)
    changes = _price_jumps(dice, rows) + _circuits(dice, faults)
    for provider, at in faults.gone:
        changes.append((at, "gone", provider, 0))
    lapses = {provider: at for provider, at in faults.gone if provider in feeds}
    for feed in feeds:
        for arrival, wanted in tasks:
            period = max(10 * MINUTE, ((wanted.constraints.complete_by or 0) - arrival) // 6)
            # A clock that is set back makes it later than the deadline before it is over.
            ends = min(
                (wanted.constraints.complete_by or 0) + 20 * MINUTE, lapses.get(feed, 2**62) - 2 * period
            )
            changes += [(at, "renewed", feed, 2 * period) for at in range(arrival - 1, ends, period)]
    return World(seed, tasks, _versions(rows, changes, faults), faults, lapses)


def _when(dice: Random) -> int:
    return NOW + dice.randrange(WEEK)


def _task(dice: Random, number: int) -> tuple[int, Task]:
    arrival = _when(dice)
    slack = round(MINUTE * 3 * 480 ** dice.random())
    wanted = task(
        complete_by=arrival + slack,
        max_cost=dice.choice([None, 80, 120, 300]),
        per_second=0,
        value=dice.choice([None, None, 400]),
    )
    return arrival, replace(wanted, id=f"task_{number}")


def _rows(dice: Random) -> tuple[list[Row], list[str]]:
    """Tariffs, curves, standing prices and feeds; sometimes a batch lane. The feeds' providers."""
    rows, feeds = [], []
    names = ["p", "q", "r", "s"][: dice.randint(2, 4)]
    for name in names:
        is_feed = dice.random() < 0.2
        for number in range(dice.randint(1, 2)):
            p99 = dice.choice([500, 2_000, 8_000, 30_000, 60_000, 110_000])
            fields = {"provider": name, "p99": p99, "latency": max(1, p99 // 5)}
            if is_feed:
                rows.append(offer(f"{name}{number}", quotes=[quote(dice.randint(20, 100))], **fields))
            elif dice.random() < 0.7:
                rows.append(offer(f"{name}{number}", quotes=_steps(dice), **fields))
            else:
                price = dice.randint(20, 100)
                ceiling = dice.choice([None, (0, 0, round(price * 1.2))])
                rows.append(offer(f"{name}{number}", price, price_max=ceiling, **fields))
        if is_feed:
            feeds.append(name)
    if dice.random() < 0.3:
        rows.append(
            offer("batch", dice.randint(10, 60), lane="batch", provider=dice.choice(names), p99=86_400_000)
        )
    return rows, feeds


def _steps(dice: Random) -> list:
    """A tariff of the week: prices by the hour of the day, posted to the end of the eighth."""
    edges = sorted(dice.sample(range(24 * 4), dice.randint(2, 5)))
    levels = [dice.randint(10, 120) for _ in edges]
    found, start = [], 0
    for day in range(9):
        for number, edge in enumerate(edges):
            until = NOW + day * DAY + edge * 15 * MINUTE
            found.append(quote(levels[number], start, until, sequence=len(found) + 1))
            start = until
    return found


def _worst(dice: Random, arrival: int, wanted: Task, market: Book) -> int:
    """The task's worst minute: mostly that of its latest start, else any of its wait."""
    deadline = wanted.constraints.complete_by or 0
    latest = latest_start(wanted, market, decide(wanted, market, at=arrival).decision.spot)
    if latest is None or dice.random() < 0.3:
        return dice.randrange(arrival, deadline)
    return dice.choice([latest, latest, dice.randrange(min(latest, deadline - 1), deadline)])


def _machine(dice: Random, faults: Faults, at: int) -> None:
    taken = [begin for begin, _ in faults.down] + [begin for begin, _ in faults.steps]
    if any(abs(at - begin) < APART_US for begin in taken):
        return
    if dice.random() < 0.5:
        faults.down.append((at, at + dice.randrange(SECOND, RESTART_US)))
    else:
        by = dice.choice([dice.randrange(LEAP_US), -dice.randrange(10 * MINUTE), dice.randrange(HOUR)])
        faults.steps.append((at, by))


def _provider(
    dice: Random, faults: Faults, at: int, victims: list[str], feeds: list[str], *, single: bool
) -> None:
    provider = dice.choice(victims)
    kind = dice.random()
    if kind < 0.7:
        end = at + round(SECOND * 10 * 1_000 ** dice.random())
        faults.outages.append(Outage(provider, at, end, dice.random() < 0.5))
    elif provider not in {name for name, _ in faults.gone}:
        faults.gone.append((provider, at))


def _price_jumps(dice: Random, rows: list[Row]) -> list[tuple[int, str, str, int]]:
    """Standing prices jump: within their history where they have one, wildly where nothing is known of them."""
    found = []
    for row in rows:
        if row.quotes[0].valid_until is None and dice.random() < 0.5 and row.offer.lane != "batch":
            ceiling = row.conditions.price_max
            price = dice.randint(10, ceiling[2]) if ceiling else dice.randint(10, 500)
            found.append((_when(dice), "jump", row.offer.id, price))
    return found


def _circuits(dice: Random, faults: Faults) -> list[tuple[int, str, str, int]]:
    """Others' calls may have opened the circuit of a provider that is down."""
    found = []
    for outage in faults.outages:
        if dice.random() < 0.5:
            found.append((outage.begin + dice.randrange(MINUTE), "open", outage.provider, 0))
            found.append((outage.end + MINUTE, "closed", outage.provider, 0))
    return found


def _versions(
    rows: list[Row], changes: list[tuple[int, str, str, int]], faults: Faults
) -> list[tuple[int, Book]]:
    """The book after each change; quotes begin when the market's clock shows that they came."""
    now = book(*rows)
    found, sequence = [(0, now)], 10_000
    for at, kind, name, value in sorted(changes):
        sequence += 1
        touched = {}
        for number, row in enumerate(now.rows):
            if name not in (row.offer.provider, row.offer.id):
                continue
            if kind == "gone":
                touched[number] = replace(row, offer=replace(row.offer, withdrawn=True))
            elif kind in ("open", "closed"):
                touched[number] = replace(row, conditions=replace(row.conditions, circuit=kind))
            elif kind == "jump":
                touched[number] = replace(row, quotes=(quote(value, faults.shown(at), sequence=sequence),))
            elif row.offer.lane != "batch":
                price = row.quotes[-1].prices.per_request
                begin = faults.shown(at)
                renewed = quote(price, begin, begin + value, sequence=sequence)
                touched[number] = replace(row, quotes=(renewed,))
        if touched:
            now = now.with_rows(now.version + 1, touched)
            found.append((at, now))
    return found
