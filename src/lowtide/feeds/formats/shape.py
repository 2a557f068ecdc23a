"""What a document must be to be of a format at all."""

from typing import TypeVar

from lowtide.values.errors import BadValue

Shape = TypeVar("Shape")


def expect(found: Shape | None, format_name: str, shape: str) -> Shape:
    """What was found in the document. Raises BadValue (`not_this_format`) where nothing was."""
    if found is None:
        raise BadValue(
            "not_this_format",
            f"The document is not of format {format_name}, which is {shape}. Name its format, or leave it out to "
            "have it guessed.",
        )
    return found
