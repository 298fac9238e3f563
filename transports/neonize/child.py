"""The program of the hosting process: `python -m transports.neonize.child <descriptor>`. Not for people."""

from __future__ import annotations

import importlib
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from transports.neonize.channel import Channel
from transports.neonize.client import Client, LibraryMissing, MakeClient
from transports.neonize.host import serve

INSTALL = "pip install 'storycast[neonize]'"


def main(make: MakeClient) -> None:
    """Host a session on the descriptor that is the last argument, with clients that `make` makes."""
    # A signal to the whole group is for the worker, which may want to end calls first; the pipe's end is our sign.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    with socket.socket(fileno=int(sys.argv[-1])) as pipe:
        serve(Channel(pipe), make)
    os._exit(0)  # a thread of the library that hangs keeps no process


def load(database: Path, note: Callable[[str], None]) -> Client:
    """A client of the installed neonize. Raises `LibraryMissing`, saying what is missing."""
    with suppress(ImportError):  # it brings libmagic along where the system has none
        importlib.import_module("pylibmagic")
    try:
        from transports.neonize.library import Library
    except ModuleNotFoundError as error:
        raise LibraryMissing(
            f"the neonize engine needs {error.name}, which is not installed: {INSTALL}"
        ) from error
    except ImportError as error:
        if "libmagic" in str(error):
            raise LibraryMissing(
                "neonize needs libmagic, which is not installed: apt install libmagic1, brew install libmagic, "
                "or pip install pylibmagic"
            ) from error
        raise LibraryMissing(f"neonize cannot be loaded: {error}") from error
    except Exception as error:  # loading fetches and starts a Go library, which fails in ways of its own
        raise LibraryMissing(f"neonize cannot be loaded: {type(error).__name__}: {error}") from error
    return Library(database, note)


if __name__ == "__main__":
    main(load)
