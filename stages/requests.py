"""From the bytes of a delivery to a checked story, or to a refusal that says what is wrong.

Every refusal names the field, what was found and what is allowed, under a code that machines can rely on.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import structs

from stages.errors import BadRequest
from stages.flow import Delivery, Story
from stages.messages import Media, SendRequest, SmartSendConfig
from stages.options import SmartSend
from stages.recipients import ALLOWED, Roster

JSON = "application/json"
MSGPACK = "application/msgpack"

_SHOWN = 80
_PATH = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<path>[^`]*)`)?$", re.DOTALL)
_MISSING = re.compile(r"^Object missing required field `(?P<name>[^`]*)`")
_UNKNOWN = re.compile(r"^Object contains unknown field `(?P<name>[^`]*)`")
_EXPECTED = re.compile(r"Expected (?P<allowed>.*?)(?:, got (?P<found>.*))?$", re.DOTALL)
_VALUE = re.compile(r"Invalid (?:enum )?value (?P<found>.*)$", re.DOTALL)
_HINTS = {
    "recipients": "an array of at least one recipient",
    "recipientsRef": "the name of an object: 1-255 letters, digits, `_`, `-`, `.` or `/`",
    "storyId": "1-128 letters, digits, `_` or `-`",
    "sessionId": "1-64 letters, digits, `_` or `-`",
    "audience": "contacts",
    "content.type": "text, image, video, voice",
    "smartSendConfig.strategy": "tiered, progressive, adaptive, fixed",
    "content.mimetype": "a media type such as image/jpeg",
}
_TARGETS = {"to", "chatId", "chat", "target", "jid", "groupId"}

_json = msgspec.json.Decoder(SendRequest)
_msgpack = msgspec.msgpack.Decoder(SendRequest)


def decode(data: bytes, content_type: str) -> SendRequest:
    """The request in `data`. Raises `BadRequest`, whatever the bytes are."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in {JSON, MSGPACK}:
        raise BadRequest(
            "unsupported-content-type", field="Content-Type", found=_shown(kind), allowed=f"{JSON}, {MSGPACK}"
        )
    decoder = _msgpack if kind == MSGPACK else _json
    try:
        request = decoder.decode(data)
    except msgspec.ValidationError as error:
        raise _invalid(str(error), data, kind) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        wanted = "one MessagePack map" if kind == MSGPACK else "one JSON object in UTF-8"
        raise BadRequest("not-decodable", found=_shown(str(error)), allowed=wanted) from error
    _check_source(request)
    return request


def check_session(delivery: Delivery, request: SendRequest) -> None:
    """Raise `BadRequest` if `request` is for another session than the one it was published for."""
    if request.session_id != delivery.session:
        allowed = f"{delivery.session}, as in the subject"
        raise BadRequest("session-mismatch", field="sessionId", found=request.session_id, allowed=allowed)


def check_content(request: SendRequest) -> None:
    """Raise `BadRequest` if the content of `request` is not whole."""
    if isinstance(request.content, Media):
        _check_media(request.content)


def to_story(delivery: Delivery, request: SendRequest, roster: Roster, *, defaults: SmartSend) -> Story:
    """The story that `request` asks for, to those in `roster`; to the account's own audience in one plain call.

    Raises `BadRequest` if not one of them is a person, be it a suppressed one.
    """
    _check_anybody(request, roster)
    enabled = request.use_smart_send if request.audience is None else False
    return Story(
        delivery=delivery,
        story_id=request.story_id,
        session_id=request.session_id,
        content=request.content,
        recipients=roster.recipients,
        options=merged(defaults, request.smart_send_config, enabled=enabled),
        priorities=roster.priorities,
        skipped=roster.skipped,
        priority=request.priority,
        dry_run=request.dry_run,
    )


def merged(defaults: SmartSend, config: SmartSendConfig | None, *, enabled: bool | None) -> SmartSend:
    """What the request chose, over `defaults`; the operator's caps stay."""
    chosen: dict[str, Any] = {} if enabled is None else {"enabled": enabled}
    if config is not None:
        wishes = {
            "strategy": config.strategy,
            "batch_size": config.batch_size,
            "batch_delay": config.delay_ms,
            "regional": config.regional,
        }
        chosen |= {name: wish for name, wish in wishes.items() if wish is not None}
        if config.batch_size is not None:
            chosen["max_batch_size"] = min(config.batch_size, defaults.max_batch_size)
    return structs.replace(defaults, **chosen)


def story_id_in(data: bytes) -> str | None:
    """The `storyId` in a JSON request that is refused, if it can be read at all."""
    try:
        found = msgspec.json.decode(data, type=dict[str, msgspec.Raw]).get("storyId")
        return None if found is None else msgspec.json.decode(found, type=str)[:128]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _check_source(request: SendRequest) -> None:
    if request.recipients and request.recipients_ref is not None:
        allowed = "one of recipients and recipientsRef"
        raise BadRequest("recipients-source", field="recipientsRef", found="both", allowed=allowed)
    if request.audience is not None and (request.recipients or request.recipients_ref is not None):
        allowed = "one of recipients, recipientsRef and audience"
        raise BadRequest("recipients-source", field="audience", found="a list as well", allowed=allowed)
    if not request.recipients and request.recipients_ref is None and request.audience is None:
        allowed = f"{_HINTS['recipients']}, or recipientsRef, or audience"
        raise BadRequest("missing-field", field="recipients", found="nothing", allowed=allowed)


def _check_anybody(request: SendRequest, roster: Roster) -> None:
    reasons = roster.skipped.reasons()
    if roster.recipients or reasons["invalid"] < len(roster.skipped):
        return
    found = _shown(roster.skipped[0].recipient) if roster.skipped else "no recipient at all"
    allowed = ALLOWED if request.audience is None else "an account that has contacts with names"
    raise BadRequest("no-valid-recipient", field=_source(request), found=found, allowed=allowed)


def _source(request: SendRequest) -> str:
    if request.audience is not None:
        return "audience"
    return "recipients[0]" if request.recipients_ref is None else "recipientsRef"


def _check_media(media: Media) -> None:
    if (media.url is None) == (media.data is None):
        found = "neither" if media.url is None else "both"
        raise BadRequest("media-source", field="content", found=found, allowed="one of url and data")
    if media.data is not None and not media.data:
        raise BadRequest(
            "media-source", field="content.data", found="no bytes", allowed="base64 of the media"
        )


def _invalid(message: str, data: bytes, kind: str) -> BadRequest:
    """Msgspec says what is wrong in words only; this reads code, field, found and allowed out of them."""
    parts = _PATH.match(message)
    what, path = (parts["what"], parts["path"] or "") if parts else (message, "")
    if missing := _MISSING.search(what):
        field = _joined(path, missing["name"])
        return BadRequest("missing-field", field=field, found="nothing", allowed=_HINTS.get(field, "a value"))
    if unknown := _UNKNOWN.search(what):
        return _unknown(path, unknown["name"])
    if value := _VALUE.match(what):
        return BadRequest(
            "invalid-value",
            field=path,
            found=_shown(value["found"]),
            allowed=_HINTS.get(path, "see the schema"),
        )
    expected = _EXPECTED.match(what)
    if expected is None:
        return BadRequest("invalid-value", field=path, found=_value_at(path, data, kind), allowed=what)
    allowed = _HINTS.get(path, expected["allowed"])
    if expected["found"]:
        return BadRequest("wrong-type", field=path, found=expected["found"], allowed=allowed)
    return BadRequest("out-of-range", field=path, found=_value_at(path, data, kind), allowed=allowed)


def _unknown(path: str, name: str) -> BadRequest:
    field = _joined(path, name[:_SHOWN])
    if not path and name in _TARGETS:
        allowed = (
            "recipients only: a story goes to status@broadcast, never to a chat, a group or a newsletter"
        )
        return BadRequest("target-not-allowed", field=field, found=field, allowed=allowed)
    return BadRequest(
        "unknown-field", field=field, found=field, allowed="the fields of the schema (storycast schema)"
    )


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text)} characters)"


def _value_at(path: str, data: bytes, kind: str) -> str:
    """The value that `path` leads to, shortened; only for what a refusal says was found."""
    decode_any = msgspec.msgpack.decode if kind == MSGPACK else msgspec.json.decode
    try:
        value = decode_any(data)
        for step in re.findall(r"[^.\[\]]+", path):
            value = value[int(step) if step.isdigit() else step]
    except (msgspec.MsgspecError, RecursionError, LookupError, TypeError, ValueError):
        return "a value that is not allowed"
    return _shown(msgspec.json.encode(value).decode())
