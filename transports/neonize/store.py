"""The folder of one session: private to its user, and in use by one process at a time.

Whoever can read it can act as the account.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from typing import Final, Literal

from stages.messages import SESSION_ID

DATABASE: Final = "session.db"
JOURNAL: Final = "staged-contacts.json"
_LOCK: Final = "lock"
_PRIVATE: Final = 0o700


class StoreError(Exception):
    """The folder cannot be used; `code` is in-use, unsafe or failed."""

    def __init__(self, message: str, *, code: Literal["in-use", "unsafe", "failed"]):
        super().__init__(message)
        self.code = code


class Store:
    """An open session folder. It is locked for as long as this process lives, or until `close`."""

    def __init__(self, folder: Path, lock: int) -> None:
        self.folder = folder
        self._lock = lock

    @property
    def database(self) -> Path:
        """What the library keeps: keys, contacts, the account."""
        return self.folder / DATABASE

    @property
    def journal(self) -> Path:
        """What is to be put back into the contact list."""
        return self.folder / JOURNAL

    def account(self) -> str | None:
        """The JID that the session is linked to, or None.

        Only before the library opens the file: SQLite's locks are the process's, and the library's copy of SQLite
        would lose its own when ours closes the file.
        """
        return _account_in(self.database)

    def close(self) -> None:
        """Let others have it."""
        os.close(self._lock)


def open_store(data: Path, session: str) -> Store:
    """Make the folder of `session` in `data` if need be, check that it is private, and lock it. Raises `StoreError`."""
    if not SESSION_ID.fullmatch(session):
        raise StoreError("the session's name is not one: 1-64 letters, digits, `_` or `-`", code="failed")
    folder = data / session
    try:
        data.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
        folder.mkdir(mode=_PRIVATE, exist_ok=True)
        _check_private(folder)
        return Store(folder, _locked(folder))
    except OSError as error:
        raise StoreError(
            f"the session folder {folder} cannot be used: {error.strerror}", code="failed"
        ) from error


def _check_private(folder: Path) -> None:
    found = folder.stat()
    if found.st_uid != os.geteuid():
        raise StoreError(f"the session folder {folder} belongs to another user", code="unsafe")
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o077:
        raise StoreError(
            f"the session folder {folder} is open to other users (mode {mode:04o}), and whoever can read it can act "
            f"as the account: chmod 700 {folder}",
            code="unsafe",
        )


def _locked(folder: Path) -> int:
    lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise StoreError(f"the session folder {folder} is in use by another process", code="in-use") from None
    return lock


def _account_in(database: Path) -> str | None:
    # Asked of the file, because the library's own way cannot read a device whose name holds a comma.
    if not database.exists():
        return None
    try:
        # Not read-only: what a process that died left half written is rolled back by whoever opens it next.
        with closing(sqlite3.connect(f"file:{database}?mode=rw", uri=True, timeout=5)) as connection:
            row = connection.execute("SELECT jid FROM whatsmeow_device LIMIT 1").fetchone()
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return None
        raise StoreError(f"{database} cannot be read: {error}", code="failed") from error
    except sqlite3.DatabaseError as error:
        raise StoreError(f"{database} is no database of a session: {error}", code="failed") from error
    return str(row[0]) if row else None
