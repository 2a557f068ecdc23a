"""`lowtide demo`."""

from pathlib import Path
from typing import Annotated

import typer


def demo(
    tickets: Annotated[
        int | None, typer.Option(min=10, max=100_000, help="How many tickets the day has; 1000 unless said.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Another seed is another day; 7 unless said.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a demo that was stopped.")] = False,
    folder: Annotated[Path, typer.Option(help="Where the demo's database stands.")] = Path("var/demo"),
) -> None:
    """Play one day of a support desk on the market, with simulated upstreams at real prices, and print its bill.

    Example: lowtide demo --tickets 200
    """
    import asyncio

    from rich.console import Console

    from lowtide.demo.run import run_demo

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=110)
    asyncio.run(run_demo(folder, tickets=tickets, seed=seed, resume=resume, console=console))
