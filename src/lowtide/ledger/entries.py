"""Double entry: every movement of money takes from one account and gives to another, so balances sum to zero.

Accounts: `acct:ID:available` and `acct:ID:authorized` of a requester, `provider:NAME`, `house:overrun` (what
providers charge beyond what was authorized), and `outside` (where deposits come from). Amounts are nano-USD.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

OUTSIDE = "outside"
OVERRUN = "house:overrun"


@dataclass(frozen=True, slots=True)
class Entry:
    """`amount_nano` (never negative) from the debited to the credited account."""

    kind: str
    debit: str
    credit: str
    amount_nano: int

    def __post_init__(self) -> None:
        if self.amount_nano < 0:
            raise ValueError(f"A movement of {self.amount_nano} nano-USD: swap its accounts instead.")


def available(account_id: str) -> str:
    """The ledger account of money that a requester may still commit."""
    return f"acct:{account_id}:available"


def authorized(account_id: str) -> str:
    """The ledger account of money set aside for a requester's tasks."""
    return f"acct:{account_id}:authorized"


def provider(name: str) -> str:
    """The ledger account of what a provider earned."""
    return f"provider:{name}"


def deposit(account_id: str, amount_nano: int) -> Entry:
    """Money from outside to a requester."""
    return Entry("deposit", OUTSIDE, available(account_id), amount_nano)


def authorization(account_id: str, amount_nano: int, kind: str = "authorize") -> Entry:
    """Money set aside before a provider is called; `kind` is `authorize`, or `raise` for more of it."""
    return Entry(kind, available(account_id), authorized(account_id), amount_nano)


def settlement(
    account_id: str, provider_name: str, captured_nano: int, authorized_nano: int
) -> tuple[Entry, ...]:
    """Close `authorized_nano`: capture what was used, void the rest; the house bears what exceeds it.

    A capture is always there, be it of nothing: it marks the settlement as done.
    """
    within = min(captured_nano, authorized_nano)
    aside, seller = authorized(account_id), provider(provider_name)
    entries = [Entry("capture", aside, seller, within)]
    if authorized_nano > within:
        entries.append(Entry("void", aside, available(account_id), authorized_nano - within))
    if captured_nano > within:
        entries.append(Entry("overrun", OVERRUN, seller, captured_nano - within))
    return tuple(entries)


def balances(entries: Iterable[Entry]) -> dict[str, int]:
    """What stands on each account, nano-USD: credits less debits. The values sum to zero."""
    sums: defaultdict[str, int] = defaultdict(int)
    for entry in entries:
        sums[entry.debit] -= entry.amount_nano
        sums[entry.credit] += entry.amount_nano
    return dict(sums)
