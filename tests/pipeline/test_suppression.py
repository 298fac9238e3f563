"""Who asked not to be sent to is never lost to a typing error."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.resolution import SettingsError
from pipeline.suppression import read_suppressed


def written(folder: Path, text: str) -> str:
    path = folder / "suppressed.txt"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_each_person_is_kept_once_however_written(tmp_path: Path) -> None:
    text = """# asked on 2026-11-01
+62 812-3456-7890
6281234567890@c.us
6281234567890:12@s.whatsapp.net

   447911123456@s.whatsapp.net
# 6289999999999
123456789012345@lid
"""
    assert read_suppressed(written(tmp_path, text)) == {
        "6281234567890@s.whatsapp.net",
        "447911123456@s.whatsapp.net",
        "123456789012345@lid",
    }


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_line_endings_do_not_matter(tmp_path: Path, ending: str) -> None:
    path = tmp_path / "suppressed.txt"
    path.write_bytes(ending.join(["6281234567890", "6281234567891"]).encode())
    assert len(read_suppressed(str(path))) == 2


@pytest.mark.parametrize("line", ["somebody", "0812", "120363@g.us", "6281234567890 # later", "62812,62813"])
def test_a_line_that_is_nobody_is_an_error_that_names_it_and_what_is_allowed(
    tmp_path: Path, line: str
) -> None:
    path = written(tmp_path, f"# people\n6281234567890\n\n{line}\n")
    with pytest.raises(
        SettingsError, match=rf"SUPPRESSION_FILE: {path}, line 4: allowed: .*international form"
    ):
        read_suppressed(path)


def test_without_a_file_nobody_is_suppressed() -> None:
    assert read_suppressed("") == frozenset()


def test_a_file_that_is_not_there_or_no_text_is_an_error_that_names_it(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing.txt")
    with pytest.raises(SettingsError, match=f"STORYCAST_SUPPRESSION_FILE: {missing}"):
        read_suppressed(missing)
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(SettingsError, match=f"STORYCAST_SUPPRESSION_FILE: {binary}"):
        read_suppressed(str(binary))
