"""What the demo says at its start and at its end."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from lowtide.demo.plan import FOLDER, MORNING, Plan, database_file
from lowtide.simulate.models import SimulatedModel


def program() -> str:
    """How the reader's shell calls this program."""
    return "lowtide" if shutil.which("lowtide") else ".venv/bin/lowtide"


def counted(number: int, one: str) -> str:
    """A number with its noun: 1 hold, 2 holds."""
    return f"{number} {one}" if number == 1 else f"{number} {one}s"


def say_start(console: Console, plan: Plan, url: str, models: Sequence[SimulatedModel]) -> None:
    """Where the market is, who sells on it, and on which clock its desk lives."""
    night = ", ".join(model.model for model in models if model.tariff is not None)
    hours = int(plan.ends.utcoffset().total_seconds()) // 3_600  # type: ignore[union-attr]
    console.print(
        f"A market at {url} with {len(models)} offers: real models at their catalog prices, answered by simulators.\n"
        f"With a night tariff, invented for this demo: {night}.\n"
        f"Its support desk lives on the clock of UTC{hours:+d}, where it is {plan.ends:%H:%M} now. A day of {plan.tickets} "
        f"tickets ends now;\nhalf of them may wait until {MORNING:02d}:00 there ({(MORNING - hours) % 24:02d}:00 UTC).\n"
    )


def say_resumed(console: Console, plan: Plan, posted: int, recovered: int) -> None:
    """What a stopped demo had done."""
    console.print(
        f"Going on: {posted} of {plan.tickets} tickets were posted before the stop, and "
        f"{counted(recovered, 'task')} that ran then {'is' if recovered == 1 else 'are'} run again.\n"
    )


def say_next(console: Console, plan: Plan, folder: Path, counts: Mapping[str, int]) -> None:
    """How to open this market and look into it."""
    held = counts.get("held", 0)
    console.print(
        "\nOpen this market (its simulators come up with it"
        + (f", and its {counted(held, 'hold')} go{'es' if held == 1 else ''} on)" if held else ")")
        + ", and look into it from another shell:"
    )
    ours = folder.resolve() == FOLDER.resolve()
    serve = (
        "make serve" if ours else f"{program()} serve --database sqlite:///{database_file(folder).resolve()}"
    )
    for line in (
        serve,
        f"export LOWTIDE_KEY={plan.operator_key}",
        f"{program()} auctions list",
        f"{program()} savings",
    ):
        console.print(f"  {line}", style="bold", highlight=False, soft_wrap=True)
