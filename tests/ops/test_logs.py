"""The log is for machines, and holds nothing that only friends may know."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from ops.logs import JsonLines, log_to_stderr
from stages.masking import masked


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("6281234567890", "628...90"),
        ("to 6281234567890@s.whatsapp.net, 447912345678@c.us", "to 628...90@s.whatsapp.net, 447...78@c.us"),
        ("+6281234567890:12@s.whatsapp.net", "+628...90:12@s.whatsapp.net"),
        ("123456789012345678@lid", "123...78@lid"),
        ("120363000000000000@g.us", "120...00@g.us"),
        ('"6281234567890"', '"628...90"'),
        ("story sale-6281234567890", "story sale-628...90"),
        ("error 463 after 1200 ms, 50000 recipients", "error 463 after 1200 ms, 50000 recipients"),
        ("2026-11-21T09:00:00.000+00:00", "2026-11-21T09:00:00.000+00:00"),
        ("", ""),
    ],
)
def test_phone_numbers_are_masked_and_other_numbers_are_not(text: str, said: str) -> None:
    assert masked(text) == said


@pytest.mark.parametrize("text", ["for_6281234567890", "wa6281234567890", "6281234567890_1"])
def test_a_phone_number_within_a_name_is_masked_too(text: str) -> None:
    assert "6281234567890" not in masked(text)


def record(message: str, *args: object, exc_info: Any = None, **extra: object) -> dict[str, Any]:
    """What is logged, decoded."""
    entry = logging.LogRecord("storycast", logging.WARNING, __file__, 1, message, args, exc_info)
    entry.__dict__.update(extra)
    text = JsonLines().format(entry)
    assert "\n" not in text
    return msgspec.json.decode(text, type=dict[str, Any])


def test_an_entry_has_time_level_event_and_what_was_passed_along() -> None:
    entry = record("%d refused", 3, session="main", counts={"a": 1})
    assert entry.pop("at").endswith("+00:00")
    assert entry == {"level": "warning", "event": "3 refused", "session": "main", "counts": {"a": 1}}


def test_what_json_does_not_know_is_written_as_text() -> None:
    assert record("odd", problem=ValueError("no such thing"))["problem"] == "no such thing"


def test_a_traceback_stays_on_the_line_and_numbers_in_it_are_masked() -> None:
    try:
        raise ValueError("cannot send to 6281234567890@s.whatsapp.net")
    except ValueError:
        entry = record("lane failed", exc_info=sys.exc_info())
    assert entry["trace"].endswith("ValueError: cannot send to 628...90@s.whatsapp.net")


def test_a_number_that_is_no_text_stays_a_number() -> None:
    assert record("story finished", ms=12_345_678)["ms"] == 12_345_678


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """Our logger, given back as it was."""
    logger = logging.getLogger("storycast")
    kept = logger.handlers, logger.level, logger.propagate
    yield logger
    logger.handlers, level, logger.propagate = kept
    logger.setLevel(level)


def test_the_log_goes_to_stderr_once_however_often_it_is_asked_for(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    log_to_stderr()
    log_to_stderr()
    logger.info("hello")
    logger.debug("too much")
    said = capsys.readouterr()
    assert said.out == ""
    assert [msgspec.json.decode(line, type=dict[str, Any])["event"] for line in said.err.splitlines()] == [
        "hello"
    ]
