"""Recipients are read line by line from wherever they come, and what is wrong with a source is said."""

from __future__ import annotations

import io
import os
import threading
from pathlib import Path

import pytest

from ops.recipients import IN_MEMORY, read_recipients
from stages.errors import BadRequest

BROKEN = b"\xff\xfe\n"


def test_a_file_is_read_only_as_far_as_it_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "people.txt"
    path.write_bytes(b"".join(b"%d\n" % number for number in range(100_000)) + BROKEN)
    recipients = read_recipients([], path)
    assert [next(recipients), next(recipients)] == ["0", "1"]
    with pytest.raises(BadRequest, match=r"people\.txt: file: found no UTF-8 text"):
        list(recipients)


def test_a_file_that_is_no_text_from_the_beginning_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "people.txt").write_bytes(BROKEN)
    with pytest.raises(BadRequest, match="found no UTF-8 text"):
        read_recipients(["1"], tmp_path / "people.txt")


def test_a_byte_order_mark_is_no_part_of_the_first_recipient(tmp_path: Path) -> None:
    (tmp_path / "people.txt").write_text("1\n2\n", encoding="utf-8-sig")
    assert list(read_recipients([], tmp_path / "people.txt")) == ["1", "2"]


def test_standard_input_of_any_length_is_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    people = [str(6281200000000 + number) for number in range(IN_MEMORY // 10)]
    source = io.StringIO("\n".join(people))
    monkeypatch.setattr("sys.stdin", source)
    recipients = read_recipients([], None)
    assert source.read() == ""  # before anything is connected to that a pause would hold up
    assert list(recipients) == people


def test_standard_input_that_is_no_text_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"1\n" + BROKEN), encoding="utf-8"))
    with pytest.raises(BadRequest, match="stdin: file: found no UTF-8 text"):
        read_recipients([], None)


def test_a_named_pipe_is_read_to_its_end_like_standard_input(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_text, args=("1\n2\n",))
    writer.start()
    recipients = read_recipients([], path)
    writer.join()
    assert list(recipients) == ["1", "2"]
