"""Classes of tasks: alike but in size, budget, value, deadline and price of time."""

from dataclasses import replace

from lowtide.market.task import Task


def class_of(task: Task) -> Task:
    """What a task shares with those of its class."""
    objective = task.objective
    return replace(
        task,
        id="",
        input_bytes=0,
        usual_output=None,
        constraints=replace(task.constraints, complete_by=0, max_cost_nano=None),
        objective=replace(
            objective, value_nano=None if objective.value_nano is None else 0, per_second_nano=0
        ),
    )
