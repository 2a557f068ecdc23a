"""Ids: a type prefix and a time-ordered part, such as task_01JDE…; later ids sort after earlier ones."""

import os

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def new_id(prefix: str, at_us: int, entropy: bytes | None = None) -> str:
    """`prefix_` + 10 characters of the millisecond + 14 of 70 random bits (Crockford base 32, as a ULID has).

    `entropy` (9 bytes) makes the id reproducible; without it the operating system gives them.
    """
    noise = int.from_bytes(entropy if entropy is not None else os.urandom(9), "big") & ((1 << 70) - 1)
    number = ((at_us // 1000) << 70) | noise
    return prefix + "_" + "".join(_ALPHABET[(number >> shift) & 31] for shift in range(115, -5, -5))


def first_id(prefix: str, at_us: int) -> str:
    """The least id of an instant's millisecond: ids made later sort after it."""
    return new_id(prefix, max(0, at_us), bytes(9))
