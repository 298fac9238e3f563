"""Where no server is, every command that needs one says so, and what to do."""

from __future__ import annotations

import pytest

from tests.ops.support import ALONE, Ended, decoded


@pytest.mark.parametrize("name", ALONE)
def test_where_no_server_is_a_command_ends_with_3(alone: dict[str, Ended], name: str) -> None:
    assert alone[name].code == 3


@pytest.mark.parametrize("name", [name for name in ALONE if name != "doctor"])
def test_where_no_server_is_it_is_said_in_one_line_and_what_to_do_in_another(
    alone: dict[str, Ended], name: str
) -> None:
    problem, hint = alone[name].err.splitlines()
    assert problem.startswith("storycast: no NATS server answers at nats://127.0.0.1:")
    assert "`storycast up` starts one" in hint
    assert alone[name].out == ""


def test_where_no_server_is_the_doctor_still_says_what_it_found(alone: dict[str, Ended]) -> None:
    found = {check["name"]: check for check in decoded(alone["doctor"].out)}
    assert [name for name, check in found.items() if not check["ok"]] == ["server"]
    assert "storycast up starts a server" in found["server"]["mend"]
    assert alone["doctor"].err == ""
