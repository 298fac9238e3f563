"""The wire reference for machines: JSON Schema of every message, and an AsyncAPI 3 document of every subject."""

from __future__ import annotations

from importlib.metadata import version
from inspect import cleandoc
from typing import Any, Literal

import msgspec

from stages.messages import (
    Alert,
    ControlError,
    ControlRequest,
    ProgressEvent,
    Rejection,
    Report,
    Scaling,
    SendRequest,
    StoryStatus,
    WorkerInfo,
)
from transports.remote.wire import (
    HEADER_ERROR,
    HEADER_ERROR_CODE,
    EngineAudience,
    EngineCall,
    EngineFailed,
    EngineReceipt,
    EngineReport,
)
from transports.subjects import HEADER_CONTENT_TYPE, HEADER_MESSAGE_ID, HEADER_REJECTION, HEADER_REPLY_TO

Format = Literal["json-schema", "asyncapi"]

MESSAGES = (
    SendRequest,
    ProgressEvent,
    Report,
    Rejection,
    Scaling,
    Alert,
    ControlRequest,
    StoryStatus,
    ControlError,
    WorkerInfo,
    EngineCall,
    EngineReceipt,
    EngineFailed,
    EngineReport,
    EngineAudience,
)
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_SESSION = {"description": "The session: 1-64 letters, digits, `_` or `-`."}
_STORY = {"description": "The story: 1-128 letters, digits, `_` or `-`."}
_LEVEL = {"description": "How urgent.", "enum": ["high", "bulk"]}


_NULL = {"type": "null"}
_ONE_SOURCE = [
    {"required": ["recipients"], "properties": {"recipientsRef": _NULL, "audience": _NULL}},
    {
        "required": ["recipientsRef"],
        "properties": {"recipientsRef": {"type": "string"}, "recipients": False, "audience": _NULL},
    },
    {
        "required": ["audience"],
        "properties": {"audience": {"type": "string"}, "recipients": False, "recipientsRef": _NULL},
    },
]
"""What types cannot say: whom a request is for is in exactly one of three fields."""


def json_schema() -> dict[str, Any]:
    """JSON Schema 2020-12 with a definition for each message."""
    _, definitions = msgspec.json.schema_components(MESSAGES, ref_template="#/$defs/{name}")
    return {"$schema": _DIALECT, "title": "storycast messages", "$defs": _described(definitions)}


def asyncapi() -> dict[str, Any]:
    """AsyncAPI 3.0: the channels are the NATS subjects, seen from storycast."""
    _, schemas = msgspec.json.schema_components(MESSAGES, ref_template="#/components/schemas/{name}")
    channels = {name: _channel(address, message, given) for name, address, message, given in _CHANNELS}
    operations = {
        ("take" if name in _TAKEN else "publish") + name[0].upper() + name[1:]: _operation(name)
        for name in channels
    }
    answers = {f"{name}Answer": _answers(kinds) for name, kinds in _ANSWERS.items()}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "storycast",
            "version": version("storycast"),
            "description": "Posts one WhatsApp status to long recipient lists, and reports on every recipient.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": channels | answers,
        "operations": operations,
        "components": {"messages": _messages(), "schemas": _described(schemas)},
    }


_CHANNELS: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("send", "storycast.send.{session}", "SendRequest", {"session": _SESSION}),
    (
        "sendAtLevel",
        "storycast.send.{session}.{level}",
        "SendRequest",
        {"session": _SESSION, "level": _LEVEL},
    ),
    (
        "progress",
        "storycast.progress.{session}.{story}",
        "ProgressEvent",
        {"session": _SESSION, "story": _STORY},
    ),
    ("report", "storycast.report.{session}.{story}", "Report", {"session": _SESSION, "story": _STORY}),
    ("rejected", "storycast.rejected.{session}", "RejectedRequest", {"session": _SESSION}),
    ("scaling", "storycast.scaling.{session}", "Scaling", {"session": _SESSION}),
    ("alerts", "storycast.alerts.{session}", "Alert", {"session": _SESSION}),
    (
        "control",
        "storycast.control.{session}.{story}",
        "ControlRequest",
        {"session": _SESSION, "story": _STORY},
    ),
    ("controlSession", "storycast.control.{session}", "ControlRequest", {"session": _SESSION}),
    ("rollCall", "storycast.workers.roll-call", "RollCall", {}),
    ("engineSend", "storycast.engine.{session}.send", "EngineCall", {"session": _SESSION}),
    ("engineStatus", "storycast.engine.{session}.status", "EngineQuestion", {"session": _SESSION}),
    ("engineAudience", "storycast.engine.{session}.audience", "EngineQuestion", {"session": _SESSION}),
)
_TAKEN = frozenset({"send", "sendAtLevel", "control", "controlSession", "rollCall"})
_ANSWERS: dict[str, tuple[str, ...]] = {
    "control": ("StoryStatus", "ControlError"),
    "controlSession": ("StoryStatus", "ControlError"),
    "rollCall": ("WorkerInfo",),
    "engineSend": ("EngineReceipt", "EngineFailed"),
    "engineStatus": ("EngineReport", "EngineFailed"),
    "engineAudience": ("EngineAudience", "EngineFailed"),
}
"""What is answered to the reply subject of a request on these channels."""


def _described(schemas: dict[str, Any]) -> dict[str, Any]:
    """`schemas` with what types cannot say, and with descriptions that have no indentation.

    How docstrings are kept depends on the Python version.
    """
    described = {
        name: schema | {"description": cleandoc(schema["description"])} if "description" in schema else schema
        for name, schema in schemas.items()
    }
    kinds = described["Capabilities"]["properties"]["kinds"]
    kinds["default"] = sorted(kinds["default"])  # a set's own order is another one in each process
    request = described["SendRequest"]
    recipients = {
        key: value for key, value in request["properties"]["recipients"].items() if key != "default"
    }
    properties = request["properties"] | {"recipients": recipients}
    return described | {"SendRequest": request | {"properties": properties, "oneOf": _ONE_SOURCE}}


def _channel(address: str, message: str, parameters: dict[str, Any]) -> dict[str, Any]:
    return {
        "address": address,
        "messages": {message: {"$ref": f"#/components/messages/{message}"}},
        "parameters": parameters,
    }


def _operation(channel: str) -> dict[str, Any]:
    action = "receive" if channel in _TAKEN else "send"
    operation: dict[str, Any] = {"action": action, "channel": {"$ref": f"#/channels/{channel}"}}
    if channel in _ANSWERS:
        operation["reply"] = {"channel": {"$ref": f"#/channels/{channel}Answer"}}
    return operation


def _answers(kinds: tuple[str, ...]) -> dict[str, Any]:
    # No address: it is the reply subject of each request.
    return {
        "address": None,
        "messages": {kind: {"$ref": f"#/components/messages/{kind}"} for kind in kinds},
    }


def _messages() -> dict[str, Any]:
    messages: dict[str, Any] = {
        kind.__name__: {"payload": {"$ref": f"#/components/schemas/{kind.__name__}"}}
        for kind in MESSAGES
        if kind is not Rejection
    }
    messages["RollCall"] = {"summary": "Empty: every worker answers.", "payload": {"type": "null"}}
    messages["EngineQuestion"] = {
        "summary": "Empty: the answer is all there is to it.",
        "payload": {"type": "null"},
    }
    messages["EngineFailed"]["headers"] = _headers(
        {HEADER_ERROR: "The failure in words.", HEADER_ERROR_CODE: "A number for it, as HTTP has them."}
    )
    messages["SendRequest"]["headers"] = _headers(
        {
            HEADER_CONTENT_TYPE: "application/json (the default) or application/msgpack",
            HEADER_REPLY_TO: "A subject for the answer: the report, or the rejection.",
            HEADER_MESSAGE_ID: "JetStream's own protection against publishing twice within ten minutes.",
        }
    )
    messages["RejectedRequest"] = {
        "summary": "A refused request as it came, byte for byte, under the reason.",
        "headers": {
            "type": "object",
            "properties": {
                HEADER_REJECTION: {
                    "type": "string",
                    "contentMediaType": "application/json",
                    "contentSchema": {"$ref": "#/components/schemas/Rejection"},
                }
            },
        },
        "payload": {"description": "The original request."},
    }
    return messages


def _headers(described: dict[str, str]) -> dict[str, Any]:
    properties = {name: {"type": "string", "description": text} for name, text in described.items()}
    return {"type": "object", "properties": properties}
