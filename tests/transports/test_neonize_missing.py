"""What is not installed is named, with what to install; in the hosting process, and only there."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from transports.neonize.child import load
from transports.neonize.client import LibraryMissing


@pytest.fixture(autouse=True)
def _nothing_loaded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in sys.modules if name.startswith(("neonize", "transports.neonize.library"))]:
        monkeypatch.delitem(sys.modules, name)
    yield
    for name in [name for name in sys.modules if name.startswith(("neonize", "transports.neonize.library"))]:
        del sys.modules[name]


def package(folder: Path, text: str) -> None:
    """A neonize that does `text` when it is imported."""
    (folder / "neonize").mkdir()
    (folder / "neonize" / "__init__.py").write_text(text)


def test_without_neonize_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "neonize", None)
    with pytest.raises(LibraryMissing, match=r"neonize, which is not installed: .*storycast\[neonize\]"):
        load(tmp_path / "session.db", print)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("raise ImportError('failed to find libmagic.  Check your installation')", "apt install libmagic1"),
        ("raise ModuleNotFoundError('no PIL', name='PIL')", "needs PIL"),
        ("raise OSError('wrong ELF class')", "cannot be loaded: OSError"),
    ],
)
def test_what_neonize_needs_and_has_not_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, words: str
) -> None:
    package(tmp_path, text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(LibraryMissing, match=words):
        load(tmp_path / "session.db", print)
