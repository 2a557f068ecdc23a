"""Lists: `{"data": […], "next": cursor | null}`; the cursor is the id after which the next page begins."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

from fastapi import Query

Limit = Annotated[int, Query(ge=1, le=200, description="How many to give")]
CURSOR = r"^[a-z]+_[a-z0-9_]+$"
After = Annotated[
    str | None,
    Query(max_length=128, pattern=CURSOR, description="The `next` of the page before"),
]

T = TypeVar("T")


def page(
    rows: Sequence[T], limit: int, view: Callable[[T], Any], cursor: Callable[[T], str]
) -> dict[str, Any]:
    """A page of at most `limit` rows, made from a query that asked for one more."""
    shown = rows[:limit]
    return {"data": [view(row) for row in shown], "next": cursor(shown[-1]) if len(rows) > limit else None}
