"""From an award to a call: the provider's address and key, the model as it names it, the requester's body."""

from collections.abc import Mapping
from typing import Any

from lowtide.exchange.award import Candidate, Started
from lowtide.exchange.market import Market
from lowtide.market.deferral.net import PREEMPTIBLE
from lowtide.market.task import DEFAULT_OUTPUT_TOKENS, Task
from lowtide.store.tables import Provider
from lowtide.wire.call import Call, CallFailed, FailureKind
from lowtide.wire.failures import failure

SIMULATOR_SCHEME = "simulator:"


def address_of(market: Market, provider: Provider) -> str:
    """The base URL at which a provider is called. Raises CallFailed where its simulator is not running."""
    if not provider.base_url.startswith(SIMULATOR_SCHEME):
        return provider.base_url
    if market.rules.simulator_base is None:
        raise CallFailed(failure(FailureKind.CONNECT_FAILED, "The simulated upstreams are not running.", 0))
    return f"{market.rules.simulator_base}/{provider.base_url.removeprefix(SIMULATOR_SCHEME)}/v1"


def credentials_of(market: Market, provider: Provider) -> list[str]:
    """The names of the variables that hold a key of the provider's."""
    return [name for name in provider.credential_env.split(",") if name and name in market.credentials]


def call_of(
    market: Market,
    provider: Provider,
    attempt: Started,
    task: Task,
    body: Mapping[str, Any],
    timeout_s: float,
) -> Call:
    """The call of an attempt; of several keys each attempt takes the next."""
    candidate: Candidate = attempt.candidate
    names = credentials_of(market, provider)
    return Call(
        base_url=address_of(market, provider),
        api_key=market.credentials[names[attempt.number % len(names)]] if names else None,
        upstream_model=candidate.offer.upstream_model,
        body=body,
        max_output_tokens=task.max_output or min(candidate.offer.max_output_tokens, DEFAULT_OUTPUT_TOKENS),
        timeout_s=timeout_s,
        # Without a stream nothing comes before the whole answer does: silence is no fault until the end.
        idle_s=timeout_s,
        idempotency_key=attempt.id,
        service_tier=candidate.offer.lane if candidate.offer.lane in ("flex", "priority") else None,
        max_tokens_field=provider.max_tokens_field,
        preemptible=candidate.offer.lane in PREEMPTIBLE,
    )
