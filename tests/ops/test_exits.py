"""How a command ends is said by a code that scripts can use, and by one clear line."""

from __future__ import annotations

import pytest
import trio

from ops.exits import FAILED, INTERRUPTED, SUCCESS, UNREACHABLE, USAGE, Interrupted, fail, run
from pipeline.resolution import SettingsError
from stages.errors import BadRequest, StorycastError
from transports.errors import ProfileError, ServerFailed, StreamMismatch, Unreachable


def ending(*errors: BaseException, code: int = 0) -> int:
    """The exit code of a command whose tasks end with `errors`, all at once."""

    async def raising(error: BaseException) -> None:
        raise error

    async def main() -> int:
        async with trio.open_nursery() as nursery:
            for error in errors:
                nursery.start_soon(raising, error)
        return code

    return run(main)


def test_the_codes_are_those_that_are_documented() -> None:
    assert (SUCCESS, FAILED, USAGE, UNREACHABLE, INTERRUPTED) == (0, 1, 2, 3, 130)


@pytest.mark.parametrize("code", [0, 1, 2])
def test_a_command_that_ends_by_itself_says_its_code(code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert ending(code=code) == code
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BadRequest("c", field="f", found="x", allowed="y"), USAGE),
        (SettingsError("S: found x, allowed: y"), USAGE),
        (ProfileError("profile 'x'"), USAGE),
        (Unreachable("no NATS server answers"), UNREACHABLE),
        (ServerFailed("nats-server did not start"), UNREACHABLE),
        (StreamMismatch("stream S: retention is x"), UNREACHABLE),
        (StorycastError("something else"), FAILED),
    ],
)
def test_an_error_of_ours_is_one_line_on_stderr_and_a_code(
    error: StorycastError, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ending(error) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines()[0] == f"storycast: {error}"
    assert "Traceback" not in said.err


def test_an_unreachable_server_comes_with_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    ending(Unreachable("no NATS server answers"))
    assert "`storycast up` starts one" in capsys.readouterr().err


@pytest.mark.parametrize("others", [(), (Unreachable("it was torn down"),)])
def test_an_interruption_is_130_and_needs_no_words(
    others: tuple[Exception, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert ending(Interrupted("interrupted"), *others) == INTERRUPTED
    assert ending(KeyboardInterrupt(), *others) == INTERRUPTED
    assert capsys.readouterr() == ("", "")


def test_a_bug_is_not_hidden_behind_a_code() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        ending(ValueError("a bug"), Unreachable("it was torn down"))
    assert caught.group_contains(ValueError, match="a bug")


def test_what_is_said_is_text_and_not_markup(capsys: pytest.CaptureFixture[str]) -> None:
    assert fail("[smart_send] in storycast.toml: found [bold]") == USAGE
    assert capsys.readouterr().err == "storycast: [smart_send] in storycast.toml: found [bold]\n"
