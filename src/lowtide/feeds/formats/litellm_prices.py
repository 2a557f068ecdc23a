"""The costs of one entry of LiteLLM's map: lanes by suffix, long-context steps, tiers, and off-peak hours."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from lowtide.feeds.formats.amounts import PER_TOKEN, request_price, require_usd, unit_price
from lowtide.feeds.formats.entries import Path
from lowtide.feeds.formats.fields import Node
from lowtide.feeds.formats.levels import MOST_CONDITIONS, Level, stepped, timed
from lowtide.feeds.formats.off_peak import OffPeak
from lowtide.market.quote import Prices, Quote

COSTS = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cached_input",
    "cache_creation_input_token_cost": "cache_write",
}
_STANDARD = "standard"
_LANES = {None: _STANDARD, "batches": "batch", "flex": "flex", "priority": "priority"}
_TIER = r"(?:_(batches|flex|priority))?"
_KEY = re.compile(rf"({'|'.join(COSTS)}){_TIER}(?:_above_(\d{{1,9}})(k?)_tokens)?{_TIER}")
Cells = dict[tuple[str, int], dict[str, int]]
"""Prices by lane and by the input tokens above which they hold; 0 is always."""


@dataclass(frozen=True, slots=True)
class CostEntry:
    """What an entry says of costs. At a threshold of tokens the dearer price holds already where it is inclusive."""

    cells: Cells
    per_request: int = 0
    off_peak: OffPeak | None = None
    path: Path = ()
    lanes: tuple[str, ...] = field(default=(_STANDARD,))

    @classmethod
    def of(cls, node: Node, *, inclusive: bool = False) -> "CostEntry":
        """Read an entry. Raises Fault."""
        require_usd(node)
        cells: Cells = {}
        for lane, above, name, price in _priced(node, inclusive):
            cells.setdefault((lane, above), {})[name] = price
        for above, prices in _tiers(node):
            cells.setdefault((_STANDARD, above), {}).update(prices)
        if len(cells) > MOST_CONDITIONS:
            raise node.fault("too_many_overrides", f"An entry may have {MOST_CONDITIONS} tiers. Merge them.")
        own = [lane for lane in _LANES.values() if {"input", "output"} & cells.get((lane, 0), {}).keys()]
        off_peak = node.node("off_peak_pricing")
        return cls(
            cells,
            request_price(node.get("input_cost_per_request"), (*node.path, "input_cost_per_request")),
            None if off_peak is None else OffPeak.of(off_peak, _level(off_peak)),
            node.path,
            tuple(dict.fromkeys((_STANDARD, *own))),
        )

    def quotes(self, lane: str, start_us: int, end_us: int) -> tuple[Quote, ...]:
        """The quotes of a lane over `[start_us, end_us)`, µs UTC.

        Off-peak prices are those of the standard lane: they replace what holds there at every length.
        """
        normal = self._prices(lane, {})
        off_peak = self.off_peak
        if off_peak is None or lane != _STANDARD:
            return timed(lambda at: normal, (), start_us, end_us)
        low = self._prices(lane, off_peak.prices)
        return timed(
            lambda at: low if off_peak.holds(at) else normal,
            off_peak.edges(start_us, end_us),
            start_us,
            end_us,
        )

    def _prices(self, lane: str, replaced: Level) -> Prices:
        thresholds = sorted({above for _, above in self.cells})

        def level_at(tokens: int) -> Level:
            level: dict[str, int | None] = {"per_request": self.per_request}
            # What a lane lacks at a threshold it has from the standard one there, as LiteLLM's own tiers do.
            for above in thresholds:
                if above == 0 or tokens > above:
                    level.update(self._base(lane, above))
                    level.update(self.cells.get((lane, above), {}))
            return {**level, **replaced}

        return stepped(level_at, thresholds, self.path)

    def _base(self, lane: str, above: int) -> Mapping[str, int]:
        return {} if lane == _STANDARD else self.cells.get((_STANDARD, above), {})


def _priced(node: Node, inclusive: bool) -> Iterator[tuple[str, int, str, int]]:
    """Lane, threshold, our field and price of every cost per token that an entry has."""
    for key, value in node.values.items():
        if value is None or (found := _KEY.fullmatch(key)) is None:
            continue
        cost, early, digits, thousands, late = found.groups()
        price = unit_price(value, PER_TOKEN, (*node.path, key))
        above = 0 if digits is None else int(digits) * (1000 if thousands else 1) - int(inclusive)
        if price is not None:
            yield _LANES[early or late], above, COSTS[cost], price


def _level(node: Node) -> dict[str, int]:
    """The flat costs that an object has."""
    found = (
        (ours, unit_price(node.get(theirs), PER_TOKEN, (*node.path, theirs)))
        for theirs, ours in COSTS.items()
    )
    return {name: price for name, price in found if price is not None}


def _tiers(node: Node) -> Iterator[tuple[int, dict[str, int]]]:
    """The tiers of `tiered_pricing`: above so many tokens, these prices, and none from the tier below."""
    tiers = [(_above(tier), _level(tier)) for tier in node.nodes("tiered_pricing")]
    named = {name for _, level in tiers for name in level}
    for above, level in sorted(tiers, key=lambda tier: tier[0]):
        if "input" in level:
            # A tier without a cache price takes its own input price for cached tokens.
            level.update(
                {
                    name: level["input"]
                    for name in ("cached_input", "cache_write")
                    if name in named - level.keys()
                }
            )
        yield above, level


def _above(tier: Node) -> int:
    bounds = tier.items("range")
    low = None if len(bounds) != 2 else Node({"low": bounds[0][0]}, (*tier.path, "range")).count("low")
    if low is None:
        raise tier.fault(
            "missing_field",
            "A tier needs range, the tokens from and to which it holds, such as [0, 32000].",
            "range",
        )
    return low
