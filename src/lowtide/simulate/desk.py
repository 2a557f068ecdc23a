"""The demo's customer-support desk: a day of tickets, the same for the same seed."""

import random
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from lowtide.simulate.prompts import CLASSES, Texts, load_texts, ticket_prompt
from lowtide.values.errors import BadMoney, SetupError
from lowtide.values.instants import HOUR_US, micros
from lowtide.values.money import ceil_div, nano
from lowtide.values.tables import Table, read_table

DOMAIN = "support"
BYTES_PER_TOKEN = 4
_PPM = 1_000_000
_LIMITS = (128, 256, 512, 1_024, 2_048, 4_096)


@dataclass(frozen=True, slots=True)
class TicketClass:
    """How hard a ticket is: its share of the day, the quality it needs, the most it may cost (nano-USD)."""

    name: str
    share_ppm: int
    min_quality_ppm: int
    max_cost_nano: int


@dataclass(frozen=True, slots=True)
class DeskParameters:
    """Weights of the 24 hours of the day, and token quantiles at the given percents, rising."""

    hourly_weights: tuple[int, ...]
    percents: tuple[int, ...]
    input_tokens: tuple[int, ...]
    output_tokens: tuple[int, ...]
    classes: tuple[TicketClass, ...]
    texts: Texts
    may_wait_ppm: int = 500_000


@dataclass(frozen=True, slots=True)
class Ticket:
    """One question. `may_wait`: until the morning. `input_tokens` is UTF-8 bytes / 4, rounded up."""

    number: int
    arrival_us: int
    ticket_class: str
    prompt: str
    input_tokens: int
    output_tokens: int
    may_wait: bool
    min_quality_ppm: int
    max_output_tokens: int
    max_cost_nano: int
    domain: str = DOMAIN


def plan_day(parameters: DeskParameters, seed: int, count: int, start: datetime) -> list[Ticket]:
    """So many tickets over the 24 hours from `start` (aware), in order of arrival, numbered from 1.

    The hourly weights are those of the hours on the clock of `start`'s zone.
    """
    rng = random.Random(seed)
    arrivals = _arrivals(rng, parameters.hourly_weights, count, start)
    classes = _shuffled_classes(rng, parameters.classes, count)
    waiting = ceil_div(count * parameters.may_wait_ppm, _PPM)
    patience = [number < waiting for number in range(count)]
    rng.shuffle(patience)
    tickets: list[Ticket] = []
    for arrival, kind, may_wait in zip(arrivals, classes, patience, strict=True):
        wanted = _drawn(rng, parameters.percents, parameters.input_tokens)
        prompt = ticket_prompt(rng, parameters.texts, kind.name, wanted * BYTES_PER_TOKEN)
        output = max(1, _drawn(rng, parameters.percents, parameters.output_tokens))
        tickets.append(
            Ticket(
                number=len(tickets) + 1,
                arrival_us=arrival,
                ticket_class=kind.name,
                prompt=prompt,
                input_tokens=ceil_div(len(prompt.encode()), BYTES_PER_TOKEN),
                output_tokens=output,
                may_wait=may_wait,
                min_quality_ppm=kind.min_quality_ppm,
                max_output_tokens=next((limit for limit in _LIMITS if output <= limit), output),
                max_cost_nano=kind.max_cost_nano,
            )
        )
    return tickets


def load_desk(path: Path) -> DeskParameters:
    """The parameters of a `desk.toml`, with the texts of `tickets.toml` beside it.

    Raises SetupError naming file and field.
    """
    table = read_table(path)
    table.only("hourly_weights", "percents", "input_tokens", "output_tokens", "may_wait", "classes")
    parameters = DeskParameters(
        hourly_weights=table.counts("hourly_weights"),
        percents=table.counts("percents"),
        input_tokens=table.counts("input_tokens"),
        output_tokens=table.counts("output_tokens"),
        classes=tuple(_ticket_class(entry) for entry in table.tables("classes")),
        texts=load_texts(path.with_name("tickets.toml")),
        may_wait_ppm=table.ppm("may_wait", "0.5"),
    )
    if len(parameters.hourly_weights) != 24 or not any(parameters.hourly_weights):
        raise SetupError(f"{path.name}: hourly_weights must be 24 numbers, not all 0.")
    for name in ("percents", "input_tokens", "output_tokens"):
        values = getattr(parameters, name)
        if len(values) != len(parameters.percents) or list(values) != sorted(values):
            raise SetupError(f"{path.name}: {name} must rise and have as many numbers as percents.")
    if parameters.percents[:1] != (0,) or parameters.percents[-1:] != (100,):
        raise SetupError(f"{path.name}: percents must begin with 0 and end with 100.")
    if sum(kind.share_ppm for kind in parameters.classes) != _PPM:
        raise SetupError(f"{path.name}: the shares of the classes must add up to 1.")
    return parameters


def _ticket_class(table: Table) -> TicketClass:
    table.only("name", "share", "min_quality", "max_cost_usd")
    try:
        max_cost_nano = nano(table.text("max_cost_usd"))
    except BadMoney as error:
        raise SetupError(f"{table.place}: {error.detail}") from None
    return TicketClass(
        table.choice("name", CLASSES), table.ppm("share"), table.ppm("min_quality"), max_cost_nano
    )


def _arrivals(rng: random.Random, weights: tuple[int, ...], count: int, start: datetime) -> list[int]:
    begin = micros(start)
    into_hour = begin - micros(start.astimezone(UTC).replace(minute=0, second=0, microsecond=0))
    # An hour of the clock that the day begins in the middle of is met again at its end, for its first part.
    first_hour = start.hour
    hours = rng.choices(range(24), weights=weights, k=count)
    arrivals = []
    for hour in hours:
        offset = ((hour - first_hour) % 24) * HOUR_US + rng.randrange(HOUR_US) - into_hour
        arrivals.append(begin + offset % (24 * HOUR_US))
    return sorted(arrivals)


def _shuffled_classes(rng: random.Random, classes: tuple[TicketClass, ...], count: int) -> list[TicketClass]:
    """As many of each class as its share says (the largest remainders rounded up), in random order."""
    exact = [count * kind.share_ppm for kind in classes]
    counts = [share // _PPM for share in exact]
    by_remainder = sorted(range(len(classes)), key=lambda index: (-(exact[index] % _PPM), index))
    for index in by_remainder[: count - sum(counts)]:
        counts[index] += 1
    drawn = [kind for kind, number in zip(classes, counts, strict=True) for _ in range(number)]
    rng.shuffle(drawn)
    return drawn


def _drawn(rng: random.Random, percents: tuple[int, ...], quantiles: tuple[int, ...]) -> int:
    """A value whose distribution has those quantiles, even between them."""
    at = rng.randrange(100 * 1_000_000)
    upper = next(index for index, percent in enumerate(percents) if percent * 1_000_000 > at)
    low, high = percents[upper - 1] * 1_000_000, percents[upper] * 1_000_000
    span = quantiles[upper] - quantiles[upper - 1]
    return quantiles[upper - 1] + span * (at - low) // (high - low)
