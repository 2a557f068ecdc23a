"""Conditions of OpenRouter's provider documents: which input lengths a price holds for."""

from collections.abc import Iterator

from lowtide.feeds.formats.entries import Fault
from lowtide.feeds.formats.fields import Node

_COMPARISONS = ("gt", "gte", "lt", "lte")
_DEEPEST = 8
SUPPORTED = "Use prompt_tokens with gt, gte, lt or lte, and allOf, anyOf or not of these."


def holds(when: Node, tokens: int, depth: int = _DEEPEST) -> bool:
    """Whether a condition holds for an input of so many tokens; all its members must.

    Raises Fault (`unsupported_condition`) for whatever depends on more than the input's length.
    """
    if not when.values or depth == 0:
        raise _unsupported(when, "The condition is empty, or nested too deeply.")
    # Every member is looked at, so that one which cannot be quoted is always found.
    found = [_member(when, name, tokens, depth) for name in when.values]
    return all(found)


def thresholds(when: Node) -> Iterator[int]:
    """The input lengths beyond which the condition may hold or cease to."""
    for name in when.values:
        if name == "prompt_tokens":
            compared = when.node(name) or Node({})
            for comparison in _COMPARISONS:
                bound = compared.count(comparison)
                if bound is not None:
                    yield bound if comparison in ("gt", "lte") else bound - 1
        elif name == "not":
            yield from thresholds(when.node(name) or Node({}))
        elif name in ("allOf", "anyOf"):
            for part in when.nodes(name):
                yield from thresholds(part)


def _member(when: Node, name: str, tokens: int, depth: int) -> bool:
    if name == "prompt_tokens":
        return _compare(when.node(name) or Node({}), tokens)
    if name == "not":
        return not holds(when.node(name) or Node({}), tokens, depth - 1)
    if name in ("allOf", "anyOf") and when.nodes(name):
        found = [holds(part, tokens, depth - 1) for part in when.nodes(name)]
        return all(found) if name == "allOf" else any(found)
    raise _unsupported(when, f"A price that depends on {ascii(name)[:40]} cannot be quoted exactly.", name)


def _compare(node: Node, tokens: int) -> bool:
    if not node.values or set(node.values) - set(_COMPARISONS):
        raise _unsupported(node, "prompt_tokens is compared in a way that cannot be quoted exactly.")
    least, above = node.count("gte"), node.count("gt")
    most, below = node.count("lte"), node.count("lt")
    return (
        (least is None or tokens >= least)
        and (above is None or tokens > above)
        and (most is None or tokens <= most)
        and (below is None or tokens < below)
    )


def _unsupported(node: Node, detail: str, *names: str) -> Fault:
    return node.fault("unsupported_condition", f"{detail} {SUPPORTED}", *names)
