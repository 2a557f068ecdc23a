"""What a customer's ticket says: a message, after as much context as its length asks for."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lowtide.values.tables import read_table

CLASSES = ("simple", "moderate", "complex", "edge")
_WORDS = ("names", "goods", "cities", "faults", "moods", "articles")


@dataclass(frozen=True, slots=True)
class Texts:
    """The shop's texts: what the agent is told, what fills the templates, messages by class, context."""

    role: str
    names: tuple[str, ...]
    goods: tuple[str, ...]
    cities: tuple[str, ...]
    faults: tuple[str, ...]
    moods: tuple[str, ...]
    articles: tuple[str, ...]
    messages: Mapping[str, tuple[str, ...]]
    turns: tuple[tuple[str, str], ...]


def load_texts(path: Path) -> Texts:
    """The texts of a `tickets.toml`. Raises SetupError naming file and field."""
    table = read_table(path)
    table.only("role", "messages", "turns", *_WORDS)
    messages = table.child("messages")
    messages.only(*CLASSES)
    turns = []
    for turn in table.tables("turns"):
        turn.only("customer", "agent")
        turns.append((turn.text("customer"), turn.text("agent")))
    return Texts(
        role=table.text("role"),
        messages={name: messages.texts(name) for name in CLASSES},
        turns=tuple(turns),
        **{name: table.texts(name) for name in _WORDS},
    )


def ticket_prompt(rng: random.Random, texts: Texts, ticket_class: str, target_bytes: int) -> str:
    """A prompt of about so many bytes of UTF-8: never shorter than its message, and cut at a word."""
    question = f"Customer: {_filled(rng, texts, rng.choice(texts.messages[ticket_class]))}"
    room = target_bytes - _size(question) - 2
    if room < _size(texts.role):
        return question
    context = texts.role
    while _size(context) < room:
        piece = _turn(rng, texts) if rng.random() < 0.4 else f"Article. {rng.choice(texts.articles)}"
        context += "\n\n" + piece
    return _cut(context, room) + "\n\n" + question


def _turn(rng: random.Random, texts: Texts) -> str:
    customer, agent = rng.choice(texts.turns)
    return f"Customer: {_filled(rng, texts, customer)}\nAgent: {_filled(rng, texts, agent)}"


def _filled(rng: random.Random, texts: Texts, template: str) -> str:
    good, good2 = rng.sample(texts.goods, 2)
    amount = rng.randrange(9, 400)
    return template.format(
        order=f"HP-{rng.randrange(100_000, 999_999)}",
        name=rng.choice(texts.names),
        good=good,
        good2=good2,
        city=rng.choice(texts.cities),
        fault=rng.choice(texts.faults),
        mood=rng.choice(texts.moods),
        days=rng.randrange(2, 15),
        amount=amount,
        amount2=amount + rng.randrange(5, 900),
    ).strip()


def _size(text: str) -> int:
    return len(text.encode())


def _cut(text: str, limit: int) -> str:
    """The text up to the last word that fits in so many bytes."""
    kept = text.encode()[:limit].decode(errors="ignore")
    return kept if kept == text else kept.rsplit(" ", 1)[0]
