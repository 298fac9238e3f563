"""Calls as WAHA wants them: contacts in its way of writing, and a status as the body of a request."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from stages.messages import Content, Image, Media, Text, Video, Voice

_CANONICAL, _CONTACT = "@s.whatsapp.net", "@c.us"
_COLOUR = "#38b42f"


class Identity(Struct, frozen=True):
    """The account's own ids: the contact that is in every call, and all ways in which a recipient may be it."""

    contact: str
    jids: frozenset[str]


class Post(Struct, frozen=True, kw_only=True):
    """One request: the last part of its path, and its body."""

    kind: str
    body: bytes

    def __repr__(self) -> str:
        return f"<Post: {self.kind}, {len(self.body)} bytes>"  # a body is content and phone numbers


def contacts_of(recipients: Iterable[str], own: Identity) -> list[str]:
    """The contacts of a call: the account itself first and once, so that its own phone shows the status."""
    return [own.contact, *(contact_of(jid) for jid in recipients if jid not in own.jids)]


def contact_of(jid: str) -> str:
    """A canonical JID as WAHA writes it; hidden ids stay what they are."""
    return jid.removesuffix(_CANONICAL) + _CONTACT if jid.endswith(_CANONICAL) else jid


def post_of(content: Content, contacts: Sequence[str], message_id: str | None, *, link_preview: bool) -> Post:
    """The request that posts `content`; with `message_id` None, WAHA chooses an id."""
    kind, fields = _fields(content, link_preview=link_preview)
    anchored = {} if message_id is None else {"id": message_id}
    return Post(kind=kind, body=msgspec.json.encode({**anchored, "contacts": contacts, **fields}))


def _fields(content: Content, *, link_preview: bool) -> tuple[str, dict[str, Any]]:
    match content:
        case Text():
            return "text", {
                "text": content.text,
                "backgroundColor": content.background_color,
                "font": content.font,
                "linkPreview": link_preview,
            }
        case Image():
            return "image", {"file": _file(content), **_caption(content.caption)}
        case Video():
            named = {**_file(content), "filename": "video.mp4"}
            return "video", {"file": named, "convert": _needs_video(content), **_caption(content.caption)}
        case Voice():
            return "voice", {
                "file": _voice_file(content),
                "convert": _needs_opus(content),
                "backgroundColor": _COLOUR,
            }


def _file(media: Media) -> dict[str, Any]:
    # msgspec writes bytes as base64, which is what WAHA reads.
    source = {"url": media.url} if media.url is not None else {"data": media.data}
    return {"mimetype": media.mimetype, **source}


def _voice_file(media: Voice) -> dict[str, Any]:
    file = _file(media)
    return file if "url" in file else {**file, "filename": "voice-message.opus"}


def _caption(caption: str | None) -> dict[str, str]:
    return {} if caption is None else {"caption": caption}


def _needs_opus(media: Voice) -> bool:
    """WhatsApp plays voice notes as Opus in an Ogg container only; WAHA converts others when it is told to."""
    return _bare(media) not in {"audio/ogg", "audio/opus"}


def _needs_video(media: Video) -> bool:
    return _bare(media) != "video/mp4"


def _bare(media: Media) -> str:
    return media.mimetype.partition(";")[0].strip().lower()
