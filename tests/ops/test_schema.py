"""`storycast schema`: documents from which others build clients, so they must be right."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator, ValidationError

from stages.engine import Capabilities
from stages.errors import BadRequest, RateLimited
from stages.messages import Alert, ProgressEvent, Rejection, Report, Scaling, SendRequest, Text
from stages.requests import JSON, decode
from tests.ops.support import Call, decoded, run
from transports import subjects
from transports.remote.wire import EngineAudience, EngineCall, EngineReceipt, EngineReport, failure_answer

EXAMPLE: dict[str, Any] = {
    "storyId": "sale-2026-11-21",
    "sessionId": "main",
    "content": {"type": "text", "text": "Hello!", "backgroundColor": "#38b42f", "font": 0},
    "recipients": [
        "6281234567890@s.whatsapp.net",
        {"jid": "447912345678@s.whatsapp.net", "priority": 9},
    ],
    "priority": 5,
    "canBeReshared": True,
    "useSmartSend": True,
    "smartSendConfig": {"batchSize": 1000, "delayMs": 100, "strategy": "progressive"},
    "notBefore": "2026-11-22T08:00:00Z",
    "dryRun": False,
}
KINDS = (SendRequest, ProgressEvent, Report, Rejection, Scaling, Alert)


@pytest.fixture
def json_schema(call: Call) -> dict[str, Any]:
    document: dict[str, Any] = decoded(call("schema").out)
    return document


@pytest.fixture
def asyncapi(call: Call) -> dict[str, Any]:
    document: dict[str, Any] = decoded(call("schema", "asyncapi").out)
    return document


def validator(document: dict[str, Any], name: str) -> Draft202012Validator:
    return Draft202012Validator(document | {"$ref": f"#/$defs/{name}"})


def references(node: Any) -> Iterator[str]:
    """Every `$ref` in a document."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name == "$ref":
                yield value
            else:
                yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def resolved(document: dict[str, Any], reference: str) -> Any:
    """What a reference within `document` leads to."""
    assert reference.startswith("#/")
    found: Any = document
    for step in reference[2:].split("/"):
        found = found[step.replace("~1", "/").replace("~0", "~")]
    return found


def test_the_command_prints_json_and_nothing_else(tmp_path: Path) -> None:
    ended = run("schema", "json-schema", home=tmp_path)
    assert (ended.code, ended.err) == (0, "")
    assert decoded(ended.out)["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_it_is_a_json_schema_with_a_definition_for_each_message(json_schema: dict[str, Any]) -> None:
    Draft202012Validator.check_schema(json_schema)
    assert {kind.__name__ for kind in KINDS} <= set(json_schema["$defs"])
    for reference in references(json_schema):
        assert isinstance(resolved(json_schema, reference), dict)


def test_the_example_request_is_valid_and_is_what_a_worker_takes(json_schema: dict[str, Any]) -> None:
    validator(json_schema, "SendRequest").validate(EXAMPLE)
    assert msgspec.convert(EXAMPLE, SendRequest).story_id == "sale-2026-11-21"


@pytest.mark.parametrize(
    "change",
    [
        {"surprise": 1},
        {"to": "120363000000000000@g.us"},
        {"storyId": "not a story"},
        {"sessionId": "a.b"},
        {"recipients": []},
        {"recipients": [{"jid": "6281234567890", "prio": 9}]},
        {"priority": 10},
        {"content": {"type": "poll"}},
        {"content": {"type": "text", "text": "Hi", "colour": "red"}},
        {"smartSendConfig": {"strategy": "guess"}},
        {"smartSendConfig": {"batchSize": 0}},
    ],
)
def test_what_a_worker_refuses_the_schema_refuses_too(
    json_schema: dict[str, Any], change: dict[str, Any]
) -> None:
    with pytest.raises(ValidationError):
        validator(json_schema, "SendRequest").validate(EXAMPLE | change)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(EXAMPLE | change, SendRequest)


@pytest.mark.parametrize("missing", ["storyId", "sessionId", "content", "recipients"])
def test_a_request_without_a_required_field_is_refused(json_schema: dict[str, Any], missing: str) -> None:
    request = {name: value for name, value in EXAMPLE.items() if name != missing}
    with pytest.raises(ValidationError):
        validator(json_schema, "SendRequest").validate(request)


def test_recipients_in_exactly_one_field_are_what_schema_and_worker_take(json_schema: dict[str, Any]) -> None:
    listed = {name: value for name, value in EXAMPLE.items() if name != "recipients"}
    audience = {"audience": "contacts"}
    for good in (
        listed | {"recipientsRef": "big"},
        EXAMPLE | {"recipientsRef": None},
        listed | audience,
        EXAMPLE | {"audience": None},
    ):
        validator(json_schema, "SendRequest").validate(good)
        decode(msgspec.json.encode(good), JSON)
    for bad in (
        EXAMPLE | {"recipientsRef": "big"},
        listed | {"recipientsRef": None},
        listed,
        EXAMPLE | audience,
        listed | audience | {"recipientsRef": "big"},
        listed | {"audience": None},
    ):
        with pytest.raises(ValidationError):
            validator(json_schema, "SendRequest").validate(bad)
        with pytest.raises(BadRequest):
            decode(msgspec.json.encode(bad), JSON)


def test_what_an_engines_service_says_and_is_told_is_valid(json_schema: dict[str, Any]) -> None:
    able = Capabilities(reuses_message_id=True, targets_recipients=True, max_batch=10)
    call = EngineCall(call_id="1", content=Text(text="Hi"), recipients=["a"], deadline_ms=1)
    for message in (
        call,
        EngineReceipt(message_id="A", failed={"a": "not-on-whatsapp"}),
        failure_answer(RateLimited("slowly", retry_after=1.5)),
        EngineReport(state="ready", capabilities=able, calls=["1"]),
        EngineAudience(recipients=["a"]),
    ):
        sent = decoded(msgspec.json.encode(message).decode())
        validator(json_schema, type(message).__name__).validate(sent)


def test_a_report_as_it_is_printed_is_valid(json_schema: dict[str, Any], up_url: str, tmp_path: Path) -> None:
    ended = run(
        *["send", "--wait", "--json", "--text", "Hi", "6281234567890", "me", "--url"], up_url, home=tmp_path
    )
    report = decoded(ended.out)
    assert report["skips"] == {"invalid": 1}
    validator(json_schema, "Report").validate(report)


def test_it_is_an_asyncapi_3_document_in_which_every_reference_resolves(asyncapi: dict[str, Any]) -> None:
    assert asyncapi["asyncapi"].startswith("3.")
    assert asyncapi["info"]["title"] == "storycast"
    assert asyncapi["info"]["version"]
    found = list(references(asyncapi))
    assert len(found) > 20
    for reference in found:
        assert isinstance(resolved(asyncapi, reference), dict), reference


def test_every_channel_has_a_message_with_a_payload_and_an_operation(asyncapi: dict[str, Any]) -> None:
    operations = asyncapi["operations"].values()
    operated = {operation["channel"]["$ref"] for operation in operations}
    answers = {operation["reply"]["channel"]["$ref"] for operation in operations if "reply" in operation}
    for name, channel in asyncapi["channels"].items():
        assert (f"#/channels/{name}" in operated) != (f"#/channels/{name}" in answers)
        assert (channel["address"] is None) == (f"#/channels/{name}" in answers)
        for reference in references(channel["messages"]):
            assert "payload" in resolved(asyncapi, reference)
        parts = (channel["address"] or "").split(".")
        placeholders = {part[1:-1] for part in parts if part.startswith("{")}
        assert placeholders == set(channel.get("parameters", ()))


def test_the_channels_are_the_subjects_that_are_really_used(asyncapi: dict[str, Any]) -> None:
    names = {"session": "main", "story": "sale", "level": "high"}
    channels = asyncapi["channels"].values()
    addresses = {channel["address"].format(**names) for channel in channels if channel["address"]}
    assert addresses == {
        subjects.control_subject("main", "sale"),
        subjects.control_subject("main"),
        subjects.ROLL_CALL,
        subjects.send_subject("main"),
        subjects.send_subject("main", "high"),
        subjects.progress_subject("main", "sale"),
        subjects.report_subject("main", "sale"),
        subjects.rejected_subject("main"),
        subjects.scaling_subject("main"),
        subjects.alert_subject("main"),
        subjects.engine_send_subject("main"),
        subjects.engine_status_subject("main"),
        subjects.engine_audience_subject("main"),
    }


def test_both_documents_describe_the_same_messages(
    json_schema: dict[str, Any], asyncapi: dict[str, Any]
) -> None:
    assert set(json_schema["$defs"]) == set(asyncapi["components"]["schemas"])
