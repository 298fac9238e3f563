"""Requests looked at strictly, by WAHA's OpenAPI document: what is wrong with one, in words."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Iterator, Mapping
from typing import Any

FIELDS: dict[str, tuple[frozenset[str], frozenset[str]]] = {  # kind: required, allowed besides
    "text": (
        frozenset({"text", "backgroundColor", "font"}),
        frozenset({"linkPreview", "linkPreviewHighQuality"}),
    ),
    "image": (frozenset({"file"}), frozenset({"caption"})),
    "video": (frozenset({"file", "convert"}), frozenset({"caption"})),
    "voice": (frozenset({"file", "convert", "backgroundColor"}), frozenset()),
}
_CONTACT = re.compile(r"[1-9][0-9]{4,14}@c\.us|[1-9][0-9]{4,19}@lid")
_ID = re.compile(r"[0-9A-F]{8,64}")


def problems_with(kind: str, body: Any, *, own: str, takes_ids: bool) -> list[str]:
    """What is wrong with the body of a status request; empty if nothing is."""
    if not isinstance(body, dict):
        return ["the body is no object"]
    return [*_fields(kind, body), *_id(body, takes_ids), *_contacts(body, own), *_file(kind, body)]


def _fields(kind: str, body: Mapping[str, Any]) -> Iterator[str]:
    required, allowed = FIELDS[kind]
    for name in sorted(required - body.keys()):
        yield f"{name} is missing"
    for name in sorted(body.keys() - required - allowed - {"id", "contacts"}):
        yield f"{name} is unknown"
    if "convert" in body and not isinstance(body["convert"], bool):
        yield "convert is no boolean"


def _id(body: Mapping[str, Any], takes_ids: bool) -> Iterator[str]:
    if "id" in body and not takes_ids:
        yield "id is unknown"
    if "id" in body and not (isinstance(body["id"], str) and _ID.fullmatch(body["id"])):
        yield "id is no message id"


def _contacts(body: Mapping[str, Any], own: str) -> Iterator[str]:
    contacts = body.get("contacts")
    if not isinstance(contacts, list) or not contacts:
        yield "contacts are missing"
        return
    if not all(isinstance(contact, str) and _CONTACT.fullmatch(contact) for contact in contacts):
        yield "a contact is written wrongly"
    if len(set(contacts)) < len(contacts):
        yield "a contact is there twice"
    if contacts.count(own) != 1:
        yield "the account itself is not among the contacts"


def _file(kind: str, body: Mapping[str, Any]) -> Iterator[str]:
    if kind == "text":
        return
    file = body.get("file")
    if not isinstance(file, dict):
        yield "file is no object"
        return
    if ("url" in file) == ("data" in file):
        yield "file has not one of url and data"
    if file.keys() - {"url", "data", "mimetype", "filename"}:
        yield "file has unknown fields"
    if not isinstance(file.get("mimetype"), str):
        yield "file has no mimetype"
    if "data" in file and not _is_base64(file["data"]):
        yield "data is no base64"
    if "filename" not in file and (kind == "video" or (kind == "voice" and "data" in file)):
        yield "file has no filename"


def _is_base64(data: Any) -> bool:
    try:
        b64decode(data, validate=True)
    except (binascii.Error, TypeError, ValueError):
        return False
    return True
