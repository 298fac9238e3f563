"""`storycast send`: anybody can post a story from the command line, and is told what became of it."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ops.recipients import read_recipients
from ops.stories import content_from
from stages.messages import Report
from tests.ops.support import QUICK, Call, Command, Ended, NatsServer, decoded, run, unused_port

PNG = bytes.fromhex("89504e470d0a1a0a00ff")
ONE = "6281234567890"

Send = Callable[..., Ended]


@pytest.fixture
def send(up_url: str, tmp_path: Path) -> Send:
    """`storycast send --wait` to the shared worker."""

    def sent(*arguments: str, stdin: str = "", wait: bool = True) -> Ended:
        waiting = ("--wait",) if wait else ()
        return run("send", *waiting, "--url", up_url, *arguments, home=tmp_path, stdin=stdin)

    return sent


def report(ended: Ended) -> Report:
    return msgspec.json.decode(ended.out, type=Report)


# Whom to send to


def test_recipients_come_from_arguments_a_file_and_stdin_and_each_person_counts_once(
    send: Send, tmp_path: Path
) -> None:
    (tmp_path / "people.txt").write_text(
        f"# friends\n\n+62 812-3456-7890\n  6281234567891  \n{ONE}@c.us\n#6281\n"
    )
    by_file = report(send("--text", "Hi", "--json", "--recipients", "people.txt", "6281234567892", ONE))
    assert (by_file.total_recipients, by_file.sent_successfully) == (5, 3)
    assert by_file.skips == {"duplicate": 2}
    by_stdin = report(
        send("--text", "Hi", "--json", "--recipients", "-", ONE, stdin=f"# me\n{ONE}\r\n\n6281234567891")
    )
    assert (by_stdin.total_recipients, by_stdin.sent_successfully, by_stdin.skips) == (3, 2, {"duplicate": 1})


def test_without_any_other_source_recipients_come_from_stdin(send: Send) -> None:
    ended = send("--text", "Hi", "--json", stdin=f"{ONE}\n6281234567891\n")
    assert report(ended).sent_successfully == 2


@pytest.mark.parametrize(
    ("stdin", "given", "file", "found"),
    [
        ("1\n2\n", ["3"], None, ["3"]),
        ("1\n2\n", ["3"], "-", ["3", "1", "2"]),
        ("1\n2\n", [], None, ["1", "2"]),
        ("1\n", ["3"], "list", ["3", "7", "8 9"]),
        ("1\n", [], "list", ["7", "8 9"]),
    ],
)
def test_stdin_is_read_only_where_it_is_asked_for_or_nothing_else_is_given(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    stdin: str,
    given: list[str],
    file: str | None,
    found: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
    Path("list").write_text("# head\n7\n\n\t8 9 \n   # more\n")
    assert list(read_recipients(given, None if file is None else Path(file))) == found


# What to send


def test_a_picture_in_a_file_goes_into_the_request_as_base64(tmp_path: Path) -> None:
    with NatsServer(tmp_path) as server:
        server.make_streams()
        (tmp_path / "a picture.png").write_bytes(PNG)
        ended = run(
            *("send", "--url", server.url, "--image", "a picture.png", "--caption", "Look", ONE),
            home=tmp_path,
        )
        request = server.stored_request()
    assert ended.code == 0, ended.err
    assert request["content"] == {
        "type": "image",
        "mimetype": "image/png",
        "url": None,
        "data": "iVBORw0KGgoA/w==",
        "caption": "Look",
    }
    assert request["recipients"] == [ONE]
    assert "to" not in request


@pytest.mark.parametrize(
    "content",
    [
        ("--image", "https://example.com/a.jpg", "--caption", "Look"),
        ("--image", "picture.png"),
    ],
)
def test_every_kind_of_content_is_taken_by_a_worker(
    send: Send, tmp_path: Path, content: tuple[str, ...]
) -> None:
    (tmp_path / "picture.png").write_bytes(PNG)
    ended = send(*content, ONE)
    assert ended.code == 0, ended.err
    assert "completed: 1 of 1 sent" in ended.out


@pytest.mark.parametrize(
    ("kind", "source", "expected"),
    [
        (
            "image",
            "https://example.com/a.jpg",
            {"mimetype": "image/jpeg", "url": "https://example.com/a.jpg"},
        ),
        ("video", "http://example.com/a.mp4", {"mimetype": "video/mp4", "url": "http://example.com/a.mp4"}),
        ("video", "clip.mp4", {"mimetype": "video/mp4", "data": PNG}),
    ],
)
def test_a_medium_is_an_address_or_a_file_and_its_type_comes_from_its_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str, source: str, expected: dict[str, Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("clip.mp4").write_bytes(PNG)
    assert content_from(None, {kind: source}, caption="Look") == expected | {"type": kind, "caption": "Look"}


def test_a_voice_note_has_no_caption(tmp_path: Path) -> None:
    content = content_from(None, {"voice": "https://example.com/a.mp3"}, caption="Listen")
    assert content == {"type": "voice", "mimetype": "audio/mpeg", "url": "https://example.com/a.mp3"}


# What one is told


def test_without_wait_it_is_accepted_and_no_more(send: Send) -> None:
    ended = send("--text", "Hi", "--story", "left-alone", "--session", "leave", ONE, wait=False)
    assert ended == (0, "accepted: story left-alone of session leave\n", "")


def test_without_wait_json_says_where_it_is_stored(send: Send) -> None:
    ended = send("--text", "Hi", "--story", "left-1", "--session", "leave", "--json", ONE, wait=False)
    assert ended.code == 0
    accepted = decoded(ended.out)
    assert accepted == {"storyId": "left-1", "sessionId": "leave", "sequence": accepted["sequence"]}
    assert accepted["sequence"] > 0


def test_with_wait_it_shows_progress_and_the_report(send: Send) -> None:
    people = "\n".join(str(6281200000000 + number) for number in range(150))
    ended = send("--text", "Hello, wörld 👋", "--story", "shown", "--session", "show", stdin=people)
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[0] == "show/shown: anchoring 0/150 0%"
    assert lines[1].startswith("show/shown: anchor of 1 sent in ")
    assert any(line.startswith("show: next 100 a batch: ") for line in lines)
    assert any(line.startswith("show/shown: batch 2 of 49 sent in ") for line in lines)
    assert "completed: 150 of 150 sent" in ended.out


def test_with_wait_and_json_only_the_report_is_on_stdout(send: Send) -> None:
    ended = send("--text", "Hi", "--story", "quiet", "--session", "quiet", "--json", ONE)
    assert (ended.code, ended.err) == (0, "")
    assert (report(ended).story_id, report(ended).success) == ("quiet", True)


def test_the_same_story_twice_is_posted_once_and_gets_the_same_report(send: Send) -> None:
    first = send("--text", "Hi", "--story", "once", "--session", "once", "--json", ONE)
    second = send(
        "--text", "Something else", "--story", "once", "--session", "once", "--json", "6281234567891"
    )
    assert first.code == second.code == 0
    assert report(first) == report(second)


def test_a_dry_run_sends_nothing_and_says_what_it_would_have_sent(send: Send) -> None:
    ended = send("--text", "Hi", "--dry-run", "--json", ONE, ONE, "6281234567891")
    assert ended.code == 0
    found = report(ended)
    assert (found.dry_run, found.sent_successfully, found.message_id) == (True, 0, None)
    assert found.skips == {"duplicate": 1, "dry-run": 2}


def test_options_of_the_request_reach_the_worker(send: Send) -> None:
    people = "\n".join(str(6281200000000 + number) for number in range(150))
    options = (
        "--strategy",
        "fixed",
        "--batch-size",
        "50",
        "--delay-ms",
        "0",
        "--level",
        "bulk",
        "--priority",
        "9",
    )
    ended = send("--text", "Hi", "--json", *options, stdin=people)
    assert report(ended).batch_sequence == [50, 50, 49]


def test_it_exits_with_1_when_the_story_fails(tmp_path: Path) -> None:
    (tmp_path / "nobody.toml").write_text("[numbers]\ndead_share = 1.0\n")
    settings = QUICK | {"STORYCAST_PROFILE": "nobody.toml"}
    with Command("up", "--port", str(unused_port()), home=tmp_path, settings=settings) as up:
        up.until("serving requests")
        url = up.out.split()[3].rstrip(",")
        plain = run("send", "--text", "Hi", "--wait", "--url", url, "--story", "one", ONE, home=tmp_path)
        by_json = run(
            *("send", "--text", "Hi", "--wait", "--url", url, "--story", "one", "--json", ONE), home=tmp_path
        )
    assert (plain.code, plain.err) == (1, "")
    assert "0 of 1 sent, 1 failed" in plain.out
    assert (by_json.code, report(by_json).success) == (1, False)
    assert report(by_json).failures == {"not-on-whatsapp": 1}


# What is refused


def test_a_request_that_the_worker_refuses_ends_with_2_and_the_reason(send: Send) -> None:
    plain = send("--text", "Hi", "120363000000000000@g.us")
    assert plain.code == 2
    assert plain.err.startswith(
        "storycast: recipients[0]: target-not-allowed: found a group, allowed: a phone number"
    )
    assert plain.out == ""
    by_json = send("--text", "Hi", "--json", "120363000000000000@g.us")
    assert by_json.code == 2
    rejection = decoded(by_json.out)
    assert (
        rejection | {"code": "target-not-allowed", "field": "recipients[0]", "found": "a group"} == rejection
    )


def test_a_list_of_any_length_is_taken_and_stored_apart_if_it_does_not_fit(tmp_path: Path) -> None:
    (tmp_path / "people.txt").write_text("".join(f"{6281200000000 + number}\n" for number in range(2_000)))
    with NatsServer(tmp_path, config="max_payload: 20000\n") as server:
        server.make_streams()
        send = ("send", "--text", "Hi", "--url", server.url, "--story", "long")
        ended = run(*send, "--recipients", "people.txt", home=tmp_path)
        request = server.stored_request()
    assert ended == (0, "accepted: story long of session main\n", "")
    assert request["recipientsRef"].startswith("main.long.")
    assert "recipients" not in request


def test_content_too_large_for_one_message_ends_with_2_and_both_sizes(tmp_path: Path) -> None:
    with NatsServer(tmp_path, config="max_payload: 20000\n") as server:
        ended = run("send", "--text", "x" * 30_000, "--url", server.url, ONE, home=tmp_path)
    assert ended.code == 2
    assert "storycast: too-large: found a request of 30," in ended.err
    assert "allowed: 15,904 bytes on this server (max_payload)" in ended.err


def test_a_file_that_turns_out_to_be_no_text_ends_with_2_and_nothing_is_sent(tmp_path: Path) -> None:
    with (tmp_path / "people.txt").open("wb") as people:
        people.writelines(b"%d\n" % number for number in range(50_000))
        people.write(PNG)
    with NatsServer(tmp_path) as server:
        server.make_streams()
        ended = run(
            *("send", "--text", "Hi", "--url", server.url, "--recipients", "people.txt"), home=tmp_path
        )
        assert server.waiting() == 0
    assert ended.code == 2
    assert ended.err == "storycast: people.txt: file: found no UTF-8 text, allowed: one recipient a line\n"


def test_where_too_many_wait_already_it_ends_with_3_and_says_what_to_do(tmp_path: Path) -> None:
    with NatsServer(tmp_path) as server:
        server.make_streams(waiting_per_session=1)
        first, second = (run("send", "--text", "Hi", "--url", server.url, ONE, home=tmp_path) for _ in "12")
    assert (first.code, second.code) == (0, 3)
    assert second.err.startswith(
        "storycast: too many requests wait already: stream STORYCAST_SENDS takes no more at level normal for "
        "session main (NATS: maximum messages per subject exceeded). Story story-"
    )
    assert second.err.endswith("was not stored; send it again when workers have caught up\n")


def test_a_server_without_the_streams_ends_with_3_and_says_so(tmp_path: Path) -> None:
    with NatsServer(tmp_path) as server:
        ended = run("send", "--text", "Hi", "--url", server.url, ONE, home=tmp_path)
    assert ended.code == 3
    assert "storycast: no stream takes this subject: is JetStream on, are the streams there?" in ended.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((ONE,), "found none, allowed: one of --text, --image, --video, --voice"),
        ((ONE, "--text", "a", "--image", "a.png"), "found more than one, allowed: one of --text, --image,"),
        ((ONE, "--image", "a.png", "--video", "a.mp4"), "found more than one"),
        (
            (ONE, "--image", "strange.what"),
            "--image: mimetype: found strange.what, allowed: a name whose ending",
        ),
        ((ONE, "--voice", "https://example.com/voice"), "--voice: mimetype: found https://example.com/voice"),
        (
            (ONE, "--image", "missing.png"),
            "missing.png: file: found No such file or directory, allowed: a readable",
        ),
        ((ONE, "--image", "."), ".: file: found Is a directory, allowed: a readable file"),
        ((ONE, "--text", ""), "content.text: out-of-range: "),
        (
            ("--text", "a"),
            "recipients: no-recipients: found none, allowed: arguments, --recipients FILE, or stdin",
        ),
        (("--text", "a", "--recipients", "empty.txt"), "recipients: no-recipients: found none"),
        (
            ("--text", "a", "--recipients", "missing.txt"),
            "missing.txt: file: found No such file or directory",
        ),
        (("--text", "a", "--recipients", "binary.txt"), "binary.txt: file: found no UTF-8 text"),
        (
            (ONE, "--text", "a", "--session", "not.one"),
            'sessionId: out-of-range: found "not.one", allowed: 1-64',
        ),
        ((ONE, "--text", "a", "--session", ""), 'sessionId: out-of-range: found "", allowed: 1-64 letters'),
        (
            (ONE, "--text", "a", "--story", "a b"),
            'storyId: out-of-range: found "a b", allowed: 1-128 letters',
        ),
        ((ONE, "--text", "a", "--priority", "10"), "priority: out-of-range: found 10, allowed: `int` <= 9"),
        ((ONE, "--text", "a", "--batch-size", "0"), "smartSendConfig.batchSize: out-of-range: found 0"),
        ((ONE, "--text", "a", "--delay-ms", "-1"), "smartSendConfig.delayMs: out-of-range: found -1"),
        ((ONE, "--text", "a", "--strategy", "guess"), 'Choose from: "tiered", "progressive", "adaptive"'),
        ((ONE, "--text", "a", "--level", "express"), 'Choose from: "high", "normal", "bulk"'),
        (
            (ONE, "--text", "a", "--url", "localhost"),
            "found 'localhost', allowed: text, like nats://host:port",
        ),
    ],
)
def test_a_mistake_ends_with_2_and_says_what_is_allowed(
    call: Call, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    (tmp_path / "a.mp4").write_bytes(PNG)
    (tmp_path / "strange.what").write_bytes(PNG)
    (tmp_path / "empty.txt").write_text("# nobody\n\n")
    (tmp_path / "binary.txt").write_bytes(PNG)
    # Nobody listens there: had it tried to connect, it would have ended with 3.
    ended = call("send", *arguments, env={"STORYCAST_URL": "nats://127.0.0.1:1"})
    assert ended.code == 2
    assert said in " ".join(ended.err.replace("│", " ").split())
    assert ended.out == ""
