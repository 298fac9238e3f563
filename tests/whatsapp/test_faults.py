"""The script of faults is followed in its order, as often as it says."""

from __future__ import annotations

import pytest

from tests.whatsapp.faults import ALWAYS, Faults, Hangup, Refused

pytestmark = pytest.mark.whatsapp


def test_faults_of_a_point_are_met_one_after_the_other_and_other_points_meet_none() -> None:
    faults = Faults()
    faults.add("send", Refused(429), times=2)
    faults.add("send", Hangup())
    met = [faults.meet("send") for _ in range(4)]
    assert met == [Refused(429), Refused(429), Hangup(), None]
    assert faults.meet("login") is None


def test_a_fault_for_always_is_met_until_it_is_lifted() -> None:
    faults = Faults()
    faults.add("send", Refused(429), ALWAYS)
    assert {faults.meet("send") for _ in range(100)} == {Refused(429)}
    faults.lift("send")
    assert faults.meet("send") is None
