"""What the installed library can be asked for, by its signature and not by its version."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct

MESSAGE_ID: Final = ("message_id", "msg_id", "id")
RECIPIENTS: Final = ("recipients", "participants", "status_jid_list")


class Parameters(Struct, frozen=True):
    """The names under which a send function takes a message id and recipients; None where it takes none."""

    message_id: str | None = None
    recipients: str | None = None


def parameters_of(send: Callable[..., Any]) -> Parameters:
    """Look at `send`, the library's `send_message`."""
    names = {
        name
        for name, parameter in inspect.signature(send).parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    return Parameters(message_id=_first(MESSAGE_ID, names), recipients=_first(RECIPIENTS, names))


def _first(wanted: tuple[str, ...], names: set[str]) -> str | None:
    return next((name for name in wanted if name in names), None)
