"""Faults as they are told to a simulator."""

import pytest

from lowtide.simulate.faults import Fault, fault_from_json


def test_a_plan_of_take_backs_is_told_by_its_share_seed_delay_and_charge():
    told = {"kind": "preempted", "model": "m", "share": 0.5, "seed": 3, "delay_s": 0.1, "charges": True}
    assert fault_from_json(told) == Fault("preempted", "m", delay_s=0.1, share=0.5, seed=3, charges=True)


@pytest.mark.parametrize(
    "wrong", [{"share": 1.1}, {"share": -1}, {"share": True}, {"seed": 1.5}, {"charges": 1}, {"drawn": 3}]
)
def test_a_plan_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        fault_from_json({"kind": "preempted", **wrong})


@pytest.mark.parametrize(("share", "least", "most"), [(0.0, 0, 0), (0.25, 200, 300), (1.0, 1_000, 1_000)])
def test_about_the_share_of_the_calls_is_hit_and_the_same_ones_for_a_seed(share, least, most):
    one, other = (Fault("preempted", share=share, seed=5) for _ in range(2))
    hits = [one.strikes() for _ in range(1_000)]
    assert hits == [other.strikes() for _ in range(1_000)]
    assert least <= sum(hits) <= most
