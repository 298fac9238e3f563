"""The message id of a story, which is what keeps anybody from seeing it twice."""

from __future__ import annotations

from hashlib import sha256


def message_id_of(session_id: str, story_id: str) -> str:
    """The id that every engine call for the story bears, in the form WhatsApp Web gives its own.

    It follows from session and story alone. Recipients' phones drop a message whose sender and id they have seen, so
    a story that is sent again after any crash, from the very beginning even, is still seen once.
    """
    digest = sha256(f"{session_id}/{story_id}".encode()).hexdigest()
    return f"3EB0{digest[:18].upper()}"
