"""The fields of our own formats, as they are read and as they are documented."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lowtide.feeds.formats.ignored_fields import COLUMNS, DOCUMENT, Known

PAGE = (Path(__file__).parents[4] / "docs" / "feeds.md").read_text()


def names(known: Known) -> Iterator[str]:
    for name, below in known.items():
        yield name
        yield from names(below or {})


@pytest.mark.parametrize("name", sorted({*names(DOCUMENT), *names(COLUMNS)} - {"format", "models"}))
def test_every_field_that_is_read_is_documented(name: str):
    assert f"`{name}`" in PAGE
