"""The captured shares of a backtest as a picture: a panel for each trace, bars by slack and policy."""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from lowtide.cli.say import CommandFailed, span

if TYPE_CHECKING:
    from lowtide.market.deferral.backtest import Row

_T = TypeVar("_T")
_COLOURS = ("#1b6ca8", "#e07b39", "#3a9d5d", "#b5446e", "#7a5fb5", "#8a6d3b", "#4aa3b8", "#c2b23a", "#777777")
_WIDTH, _PANEL, _LEFT, _TOP, _BOTTOM = 760, 190, 60, 34, 30
_TITLE = "Share of the clairvoyant's saving that was captured"


def draw(rows: "Sequence[Row]", path: Path) -> None:
    """Write the picture; .png by matplotlib. Raises CommandFailed where it cannot be written."""
    try:
        if path.suffix == ".svg":
            path.write_text(svg(rows), encoding="utf-8")
        else:
            _draw_png(rows, path)
    except OSError as fault:
        raise CommandFailed(f"{path} cannot be written: {fault.strerror or fault}.") from None


def svg(rows: "Sequence[Row]") -> str:
    """The picture as SVG. Shares under zero are drawn as none; a flat trace says that it has nothing to save."""
    traces, names = _distinct(row.trace for row in rows), _distinct(row.policy for row in rows)
    legend = 18 * -(-len(names) // 4)
    height = 30 + legend + _PANEL * len(traces)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" font-size="11">',
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
        f'<text x="10" y="18" font-size="13" font-weight="bold">{_TITLE}</text>',
    ]
    for number, name in enumerate(names):
        x, y = 10 + number % 4 * 185, 36 + number // 4 * 18
        parts.append(f'<rect x="{x}" y="{y - 9}" width="10" height="10" fill="{_colour(number)}"/>')
        parts.append(f'<text x="{x + 15}" y="{y}">{escape(name)}</text>')
    for number, trace in enumerate(traces):
        own = [row for row in rows if row.trace == trace]
        parts += _panel(own, trace, names, 30 + legend + number * _PANEL)
    return "\n".join((*parts, "</svg>\n"))


def _panel(rows: "Sequence[Row]", trace: str, names: Sequence[str], top: int) -> list[str]:
    low, tall = top + _PANEL - _BOTTOM, _PANEL - _TOP - _BOTTOM
    parts = [f'<text x="10" y="{top + 20}" font-weight="bold">{escape(trace)}</text>']
    for share in (0, 0.5, 1):
        y = low - share * tall
        parts.append(f'<line x1="{_LEFT}" y1="{y}" x2="{_WIDTH - 10}" y2="{y}" stroke="#dddddd"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{share:g}</text>')
    slacks = _distinct(row.slack_s for row in rows)
    group = (_WIDTH - 10 - _LEFT) / len(slacks)
    bar = group * 0.8 / len(names)
    if all(row.captured is None for row in rows):
        parts.append(
            f'<text x="{_LEFT + 10}" y="{low - 10}" fill="#777777">nothing to save by waiting</text>'
        )
    for place, slack in enumerate(slacks):
        left = _LEFT + place * group + group * 0.1
        parts.append(
            f'<text x="{left + group * 0.4:.1f}" y="{low + 16}" text-anchor="middle">{span(slack)}</text>'
        )
        for row in rows:
            if row.slack_s == slack and row.captured is not None:
                number = names.index(row.policy)
                rise = min(max(row.captured, 0.0), 1.0) * tall
                parts.append(
                    f'<rect x="{left + number * bar:.1f}" y="{low - rise:.1f}" width="{bar * 0.9:.1f}" '
                    f'height="{rise:.1f}" fill="{_colour(number)}">'
                    f"<title>{escape(row.policy)} {row.captured:.3f}</title></rect>"
                )
    return parts


def _draw_png(rows: "Sequence[Row]", path: Path) -> None:
    from importlib import import_module

    figure_of = import_module("matplotlib.figure").Figure
    traces, names = _distinct(row.trace for row in rows), _distinct(row.policy for row in rows)
    figure = figure_of(figsize=(8, 2.2 * len(traces) + 0.8), layout="constrained")
    figure.suptitle(_TITLE)
    for axes, trace in zip(figure.subplots(len(traces), squeeze=False)[:, 0], traces, strict=True):
        own = [row for row in rows if row.trace == trace]
        slacks = _distinct(row.slack_s for row in own)
        for number, name in enumerate(names):
            places = [
                slacks.index(row.slack_s) + 0.8 * number / len(names) for row in own if row.policy == name
            ]
            shares = [max(row.captured or 0.0, 0.0) for row in own if row.policy == name]
            axes.bar(places, shares, 0.7 / len(names), color=_colour(number), label=name)
        axes.set(
            title=trace, ylim=(0, 1), xticks=range(len(slacks)), xticklabels=[span(each) for each in slacks]
        )
    figure.legend(names, loc="outside lower center", ncols=4)
    figure.savefig(path, dpi=120)


def _distinct(values: Iterable[_T]) -> list[_T]:
    return list(dict.fromkeys(values))


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]
