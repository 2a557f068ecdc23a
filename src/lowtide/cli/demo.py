"""`lowtide demo`."""

from pathlib import Path
from typing import Annotated

import typer


def demo(
    tickets: Annotated[int, typer.Option(min=10, max=100_000, help="How many tickets the day has.")] = 1_000,
    seed: Annotated[int, typer.Option(help="Another seed is another day.")] = 7,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a demo that was stopped.")] = False,
    folder: Annotated[Path, typer.Option(help="Where the demo's database stands.")] = Path("var/demo"),
) -> None:
    """Play one day of a support desk on the market, with simulated upstreams at real prices, and print its bill.

    Example: lowtide demo --tickets 200
    """
    import asyncio

    from rich.console import Console

    from lowtide.demo.run import run_demo

    asyncio.run(run_demo(folder, tickets=tickets, seed=seed, resume=resume, console=Console(highlight=False)))
