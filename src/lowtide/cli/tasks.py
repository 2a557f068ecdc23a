"""`lowtide tasks`: post work with its limits, and follow it."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from lowtide.cli.offer_text import named
from lowtide.cli.options import DEFAULT_URL, After, AsJson, Key, Limit, Url, group
from lowtide.cli.say import NOTHING, CommandFailed, money, more, span, table, when
from lowtide.cli.service import Service
from lowtide.cli.task_text import FINAL, show_estimate, show_task, state_of
from lowtide.cli.times import duration_s, moment
from lowtide.cli.watching import watched

app = group("Post work with its limits, and follow it.")
_Task = Annotated[str, typer.Argument(metavar="TASK", help="Its id.")]
Prompt = Annotated[str | None, typer.Argument(help="What is to be done; without it, --file or stdin.")]
PromptFile = Annotated[Path | None, typer.Option("--file", help="A text file with the prompt.")]
TaskType = Annotated[str, typer.Option("--type", help="The kind of work, such as support.reply.")]
MaxOutput = Annotated[int | None, typer.Option(help="The most tokens of answer.")]
MinQuality = Annotated[float | None, typer.Option(help="The quality floor, 0 to 1.")]
MaxCost = Annotated[str | None, typer.Option(help="The most it may cost, USD.")]
MaxLatency = Annotated[int | None, typer.Option(help="The most time for the answer once it runs, ms.")]
CompleteBy = Annotated[str | None, typer.Option(help="Deadline: a time with its zone, or +2h.")]
Within = Annotated[str | None, typer.Option(help="Deadline from now, such as 90s, 15m or 2h.")]
Models = Annotated[list[str] | None, typer.Option("--model", help="Only this model; repeat for several.")]
Job = Annotated[str | None, typer.Option(help="The job of many calls that it is one of, as you name it.")]
Labels = Annotated[list[str] | None, typer.Option("--label", help="NAME=VALUE; repeat for several.")]


@app.command("submit")
def submit(
    prompt: Prompt = None,
    file: PromptFile = None,
    type_: TaskType = "general",
    max_output: MaxOutput = None,
    min_quality: MinQuality = None,
    max_cost: MaxCost = None,
    max_latency: MaxLatency = None,
    complete_by: CompleteBy = None,
    within: Within = None,
    model: Models = None,
    label: Labels = None,
    job: Job = None,
    wait: Annotated[
        str | None,
        typer.Option("--wait", metavar="SECONDS", help="Follow it to its end, at most so long: 30, 5m, 2h."),
    ] = None,
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Post a task: its auction runs now, and it is awarded, held for a better price, queued or unfilled.

    A task is only held where it has a deadline. Exit 1 where nobody can serve it, and with --wait where it has not
    succeeded by then; it goes on all the same.

    Example: lowtide tasks submit "Where is my parcel?" --min-quality 0.9 --max-cost 0.05 --wait 30
    """
    patience = None if wait is None else duration_s(wait)
    body = _body(
        prompt,
        file,
        type_,
        max_output,
        min_quality,
        max_cost,
        max_latency,
        complete_by,
        within,
        model,
        label,
    )
    service = Service(url, key)
    placed = service.post("/v1/tasks", body if job is None else body | {"job": job})
    task_id = placed.data["id"]
    if patience is not None and placed.data["state"] not in FINAL:
        watched(service, task_id, within_s=patience, quiet=as_json)
        placed = service.get(f"/v1/tasks/{task_id}")
    if as_json:
        typer.echo(placed.text)
    else:
        show_task(service, placed.data)
        if wait is not None and placed.data["state"] not in FINAL:
            typer.echo(f"\nNot done after {span(patience or 0)}; it goes on: lowtide tasks watch {task_id}")
    if placed.data["state"] in ("unfilled", "failed", "expired") or (
        wait is not None and placed.data["state"] != "succeeded"
    ):
        raise typer.Exit(1)


@app.command("estimate")
def estimate(
    prompt: Prompt = None,
    file: PromptFile = None,
    type_: TaskType = "general",
    max_output: MaxOutput = None,
    min_quality: MinQuality = None,
    max_cost: MaxCost = None,
    max_latency: MaxLatency = None,
    complete_by: CompleteBy = None,
    within: Within = None,
    model: Models = None,
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """What a task would cost now, and held until its deadline, without placing it.

    Example: lowtide tasks estimate "Summarise this." --max-output 300 --within 8h
    """
    body = _body(
        prompt,
        file,
        type_,
        max_output,
        min_quality,
        max_cost,
        max_latency,
        complete_by,
        within,
        model,
        None,
    )
    found = Service(url, key).post("/v1/tasks/estimate", body)
    if as_json:
        typer.echo(found.text)
    else:
        show_estimate(found.data)


@app.command("list")
def list_(
    state: Annotated[str | None, typer.Option(help="Only tasks in this state, such as held.")] = None,
    type_: Annotated[str | None, typer.Option("--type", help="Only this kind of work.")] = None,
    label: Labels = None,
    url: Url = DEFAULT_URL,
    key: Key = None,
    limit: Limit = 50,
    after: After = None,
    as_json: AsJson = False,
) -> None:
    """List tasks, the newest first.

    Example: lowtide tasks list --state held --label team=support
    """
    labels = {f"label.{name}": value for name, value in _labels(label).items()}
    page = Service(url, key).get(
        "/v1/tasks", state=state, task_type=type_, limit=limit, after=after, **labels
    )
    if as_json:
        typer.echo(page.text)
        return
    table(
        ("id", "created", "state", "bought from", "paid"),
        [_line(row) for row in page.data["data"]],
        right=("paid",),
        empty='Post one: lowtide tasks submit "Where is my parcel?" --wait 30',
    )
    more(page.data)


def _line(row: dict[str, Any]) -> tuple[str, ...]:
    award, receipt = row["award"] or {}, row["receipt"] or {}
    return (
        row["id"],
        when(row["created_at"]),
        state_of(row, ": {}"),
        named(award) if award else NOTHING,
        money(receipt.get("paid_usd")),
    )


@app.command("show")
def show(task: _Task, url: Url = DEFAULT_URL, key: Key = None, as_json: AsJson = False) -> None:
    """Show a task with its hold or award, attempts, answer and receipt.

    Example: lowtide tasks show task_01abc…
    """
    service = Service(url, key)
    found = service.get(f"/v1/tasks/{task}")
    if as_json:
        typer.echo(found.text)
    else:
        show_task(service, found.data)


@app.command("cancel")
def cancel(task: _Task, url: Url = DEFAULT_URL, key: Key = None, as_json: AsJson = False) -> None:
    """Cancel a task: at once where it waits, best effort where it runs.

    Example: lowtide tasks cancel task_01abc…
    """
    found = Service(url, key).delete(f"/v1/tasks/{task}")
    typer.echo(found.text if as_json else f"Task {task} is {found.data['state']}.")


@app.command("watch")
def watch(task: _Task, url: Url = DEFAULT_URL, key: Key = None, as_json: AsJson = False) -> None:
    """Follow a task to its end: each change as it comes. Exit 1 where it does not succeed.

    Example: lowtide tasks watch task_01abc…
    """
    service = Service(url, key)
    if as_json:
        for _, data in service.events(f"/v1/tasks/{task}/events"):
            typer.echo(data)
    else:
        watched(service, task)
    ended = service.get(f"/v1/tasks/{task}").data
    if not as_json:
        show_task(service, ended)
    if ended["state"] != "succeeded":
        raise typer.Exit(1)


def _body(
    prompt: str | None,
    file: Path | None,
    type_: str,
    max_output: int | None,
    min_quality: float | None,
    max_cost: str | None,
    max_latency: int | None,
    complete_by: str | None,
    within: str | None,
    models: list[str] | None,
    labels: list[str] | None,
) -> dict[str, Any]:
    if complete_by is not None and within is not None:
        raise typer.BadParameter("Give either --complete-by or --within.")
    limits: dict[str, Any] = {
        "min_quality": min_quality,
        "max_cost_usd": max_cost,
        "max_latency_ms": max_latency,
        "complete_by": None if complete_by is None else moment(complete_by),
        "complete_within_s": None if within is None else duration_s(within),
        "models": models or None,
    }
    sent: dict[str, Any] = {"messages": [{"role": "user", "content": _prompt(prompt, file)}]}
    if max_output is not None:
        sent["max_output_tokens"] = max_output
    body: dict[str, Any] = {
        "task_type": type_,
        "input": sent,
        "constraints": {name: value for name, value in limits.items() if value is not None},
    }
    return body | ({"labels": _labels(labels)} if labels else {})


def _prompt(prompt: str | None, file: Path | None) -> str:
    if prompt is not None and file is not None:
        raise typer.BadParameter("Give either a prompt or --file.")
    if file is not None:
        try:
            prompt = file.read_text()
        except (OSError, UnicodeDecodeError) as fault:
            raise CommandFailed(f"{file} cannot be read: {fault}.") from None
    elif prompt is None and not sys.stdin.isatty():
        prompt = sys.stdin.read()
    if not prompt or not prompt.strip():
        raise typer.BadParameter("There is no prompt. Give one in quotes, by --file, or on stdin.")
    return prompt


def _labels(given: list[str] | None) -> dict[str, str]:
    found = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{text!r} is no label. Write one such as team=support.")
        found[name] = value
    return found
