"""Take-backs: a call on a spot lane that its provider ended because the capacity was wanted elsewhere."""

from dataclasses import replace

from lowtide.wire.call import Call, CallFailed, Failure, FailureKind
from lowtide.wire.failures import failure

TAKEN_BACK = frozenset(
    {
        *("preempted", "preemption", "spot_preempted", "instance_preempted"),
        *("capacity_reclaimed", "reclaimed", "spot_interruption", "spot_interrupted", "evicted"),
    }
)
"""Codes, or types, of an error that says so."""


def as_sold(call: Call, found: CallFailed) -> CallFailed:
    """The failure as the call's lane sells it: on one that may be taken back, a take-back is no fault.

    A refusal is one where its code or type says so; a connection that is cut always is, since nothing else tells.
    """
    told = found.failure
    if not call.preemptible:
        return found
    if told.kind is FailureKind.CUT:
        return CallFailed(replace(_taken_back(told), possibly_billed=told.possibly_billed))
    if told.status is not None and not TAKEN_BACK.isdisjoint(code.lower() for code in told.codes):
        return CallFailed(_taken_back(told))
    return found


def _taken_back(told: Failure) -> Failure:
    made = failure(
        FailureKind.PREEMPTED,
        told.detail,
        told.latency_ms,
        status=told.status,
        retry_after_s=told.retry_after_s,
    )
    return replace(made, codes=told.codes, usage=told.usage)
