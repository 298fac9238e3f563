"""A session that WhatsApp stopped: shown wherever a person looks, and served again only when a person says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ops.support import QUICK, Command, NatsServer, decoded, json_lines, run

PEOPLE = "\n".join(str(6281200000000 + number) for number in range(120))
RESTRICTED = "restricted_after_calls = 1\n[latency]\na = 0.001\nb = 0.0\n"


@pytest.mark.parametrize("command", [("resume", "--session", "main"), ("resume", "main")])
def test_a_restricted_account_is_shown_everywhere_and_goes_on_when_it_is_resumed(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    profile = tmp_path / "restricted.toml"
    profile.write_text(RESTRICTED)
    with NatsServer(tmp_path) as server:
        at = ("--url", server.url)
        with Command(
            "worker", *at, home=tmp_path, settings={**QUICK, "STORYCAST_PROFILE": str(profile)}
        ) as worker:
            worker.until("serving requests")
            sent = run("send", "--text", "Hi", "--story", "sale", *at, home=tmp_path, stdin=PEOPLE)
            assert sent.code == 0
            with Command("watch", "--json", *at, home=tmp_path) as watch:
                watch.until('"kind":"account-restricted"')
            found = {
                check["name"]: check for check in decoded(run("doctor", "--json", *at, home=tmp_path).out)
            }
            assert not found["session main"]["ok"]
            assert "server returned error 463" in found["session main"]["found"]
            assert "storycast resume --session main" in found["session main"]["mend"]
            assert "stopped: account-restricted" in run("list", *at, home=tmp_path).out
            worker.interrupt()
            assert worker.end().code == 0
        # The account is free again, and its worker another one: nothing goes out before a person says so.
        with Command("worker", *at, home=tmp_path, settings=QUICK) as worker:
            worker.until("serving requests")
            with Command("watch", "--json", *at, home=tmp_path) as watch:
                watch.until('"kind":"account-restricted"')
                before = json_lines(watch.out)
                assert run(*command, *at, home=tmp_path).code == 0
                run("send", "--text", "Hi", "--story", "next", *at, home=tmp_path, stdin=PEOPLE)
                watch.until('"sentSuccessfully":120')
            assert [event["kind"] for event in before] == ["account-restricted"]
            found = {
                check["name"]: check for check in decoded(run("doctor", "--json", *at, home=tmp_path).out)
            }
            assert found["sessions"]["ok"]
