"""The message id of a story, which is what keeps anybody from seeing it twice."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from itertools import islice

NAMED_IDS = 1_000
"""So many ids a checkpoint and a report name."""


class MessageIds:
    """The ids that a story's calls bear: all of them the `shared` one, or, where that is None, each one of its own.

    `known` are those of the calls that went through, the first ones of very many; `latest` is the last of them.
    """

    def __init__(self, shared: str | None) -> None:
        self.shared = shared
        self.known: list[str] = []
        self.latest: str | None = None

    def resume(self, latest: str | None, known: Sequence[str]) -> None:
        """Go on from what an earlier run knew; `shared` stays what it is."""
        self.latest = latest
        self.known = list(known) or ([latest] if latest is not None else [])

    def note(self, ids: Sequence[str]) -> None:
        """Calls have gone through under `ids`. If one of them is not the shared one, none is shared from now on."""
        if not ids:
            return
        self.latest = ids[-1]
        if any(one != self.shared for one in ids):
            self.shared = None
        new = (one for one in ids if one not in self.known)
        self.known.extend(islice(new, NAMED_IDS - len(self.known)))


def message_id_of(session_id: str, story_id: str) -> str:
    """The id that every engine call for the story bears, in the form WhatsApp Web gives its own.

    It follows from session and story alone. Recipients' phones drop a message whose sender and id they have seen, so
    a story that is sent again after any crash, from the very beginning even, is still seen once.
    """
    digest = sha256(f"{session_id}/{story_id}".encode()).hexdigest()
    return f"3EB0{digest[:18].upper()}"
