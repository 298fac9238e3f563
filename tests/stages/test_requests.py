"""Requests: whatever the bytes are, they become a story or a refusal that names code, field, found and allowed."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.errors import BadRequest
from stages.flow import Skipped, Story
from stages.messages import Image, SendRequest
from stages.options import SmartSend
from stages.recipients import sort_out
from stages.requests import MSGPACK, check_content, check_session, decode, merged, story_id_in, to_story
from tests.support import SESSION, delivery, people, request

NESTED = 10_000_000
PHOTO = {"type": "image", "mimetype": "image/jpeg"}


def refused(data: bytes, content_type: str = "application/json") -> BadRequest:
    """How `data` is refused, by `decode` or by `to_story`."""
    with pytest.raises(BadRequest) as caught:
        accepted(data, content_type)
    return caught.value


def accepted(data: bytes, content_type: str = "application/json", **given: Any) -> Story:
    arrived = delivery(data, content_type=content_type)
    known: dict[str, Any] = {"defaults": SmartSend(), "suppressed": frozenset[str]()} | given
    asked = decode(data, content_type)
    check_session(arrived, asked)
    check_content(asked)
    roster = sort_out(asked.recipients, known.pop("suppressed"))
    return to_story(arrived, asked, roster, **known)


def judged(data: bytes, content_type: str = "application/json") -> Story | BadRequest:
    """What becomes of `data`: anything else that is raised fails the test."""
    try:
        return accepted(data, content_type)
    except BadRequest as why:
        return why


def encoded(**fields: Any) -> bytes:
    """A request with `fields` as they are on the wire."""
    return msgspec.json.encode(request() | fields)


def without(name: str) -> bytes:
    return msgspec.json.encode({key: value for key, value in request().items() if key != name})


def json_without_recipients(name: str) -> dict[str, Any]:
    return {key: value for key, value in request().items() if key != "recipients"} | {"recipientsRef": name}


def listed_in(name: str) -> bytes:
    """A request whose recipients are in the list `name`."""
    return msgspec.json.encode(json_without_recipients(name))


def summary(why: BadRequest) -> tuple[str, str, str]:
    return why.code, why.field, why.found


# What is not a request at all


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"\x00\x01\x02",
        b"{}{}",
        b"\xef\xbb\xbf" + encoded(),
        encoded()[:-1],
        encoded()[: len(encoded()) // 2],
        encoded().replace(b"Hello", b"\xff\xfe"),
        encoded().replace(b"Hello", b"\\ud800"),
        encoded().replace(b'"storyId"', b'"\xc3"'),
        b'{"storyId": "a\\',
        b'{"priority": NaN}',
    ],
)
def test_bytes_that_are_no_json_object_are_refused(data: bytes) -> None:
    why = refused(data)
    assert why.code in {"not-decodable", "missing-field"}
    assert why.found
    assert why.allowed


def test_bytes_that_are_no_utf8_are_refused_as_not_decodable_with_what_is_wanted() -> None:
    why = refused(encoded().replace(b"Hello", b"\xff\xfe"))
    assert (why.code, why.field, why.allowed) == ("not-decodable", "", "one JSON object in UTF-8")
    assert "utf-8" in why.found


@pytest.mark.parametrize("data", [b"null", b"[]", b"7", b'"text"', b"true"])
def test_json_that_is_no_object_is_refused_as_the_wrong_type(data: bytes) -> None:
    why = refused(data)
    assert (why.code, why.field) == ("wrong-type", "")
    assert "object" in why.allowed


@pytest.mark.parametrize(
    "opening",
    [
        b"[",
        b'{"a":',
        b'{"storyId":',
        b'{"content":',
        b'{"content":[',
        b'{"content":{"type":"text","text":',
        b'{"recipients":',
        b'{"recipients":[',
        b'{"recipients":[[',
        b'{"recipients":[{"jid":',
        b'{"smartSendConfig":',
    ],
)
def test_ten_megabytes_of_nesting_are_refused_and_do_not_exhaust_the_stack(opening: bytes) -> None:
    data = opening * (NESTED // len(opening))
    assert refused(data).code in {"not-decodable", "wrong-type", "unknown-field"}
    assert story_id_in(data) is None


@pytest.mark.parametrize("opening", [b"\x91", b"\x81\xa1a", b"\x81\xa7content", b"\x81\xaarecipients\x91"])
def test_ten_megabytes_of_nested_messagepack_are_refused(opening: bytes) -> None:
    data = opening * (NESTED // len(opening))
    assert refused(data, MSGPACK).code in {"not-decodable", "wrong-type", "unknown-field"}


@given(st.binary(max_size=200), st.sampled_from(["application/json", MSGPACK]))
def test_no_bytes_at_all_raise_anything_but_a_refusal(data: bytes, content_type: str) -> None:
    found = judged(data, content_type)
    assert isinstance(found, BadRequest)
    assert found.code


@given(st.data())
def test_a_request_that_was_damaged_anywhere_is_a_request_or_a_refusal(data: st.DataObject) -> None:
    whole = bytearray(encoded(priority=9, smartSendConfig={"batchSize": 5}, notBefore="2026-11-22T08:00:00Z"))
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    found = judged(bytes(whole))
    if isinstance(found, BadRequest):
        assert found.code
        assert found.found
        assert found.allowed
    else:
        assert found.recipients


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=6,
    ),
    st.sampled_from(sorted(request())),
)
def test_no_value_in_any_field_raises_anything_but_a_refusal(value: Any, name: str) -> None:
    found = judged(encoded(**{name: value}))
    if isinstance(found, BadRequest):
        assert found.field.startswith(name) or found.code == "session-mismatch"


# What a field may be


@pytest.mark.parametrize("name", ["storyId", "sessionId", "content", "recipients"])
def test_a_missing_field_is_named(name: str) -> None:
    assert summary(refused(without(name))) == ("missing-field", name, "nothing")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"content": {"text": "x"}}, ("missing-field", "content.type", "nothing")),
        ({"content": {"type": "text"}}, ("missing-field", "content.text", "nothing")),
        ({"content": {"type": "image", "url": "http://x/y"}}, ("missing-field", "content.mimetype", "nothing")),
        ({"recipients": [{"priority": 1}]}, ("missing-field", "recipients[0].jid", "nothing")),
        ({"colour": "red"}, ("unknown-field", "colour", "colour")),
        ({"content": {"type": "text", "text": "x", "fonts": 1}}, ("unknown-field", "content.fonts", "content.fonts")),
        (
            {"smartSendConfig": {"batchsize": 9}},
            ("unknown-field", "smartSendConfig.batchsize", "smartSendConfig.batchsize"),
        ),
        ({"priority": "high"}, ("wrong-type", "priority", "`str`")),
        ({"dryRun": 1}, ("wrong-type", "dryRun", "`int`")),
        ({"recipients": "all"}, ("wrong-type", "recipients", "`str`")),
        ({"recipients": [6281200000000]}, ("wrong-type", "recipients[0]", "`int`")),
        ({"recipients": [["6281200000000"]]}, ("wrong-type", "recipients[0]", "`array`")),
        ({"smartSendConfig": {"batchSize": 1.5}}, ("wrong-type", "smartSendConfig.batchSize", "`float`")),
        ({"recipients": []}, ("out-of-range", "recipients", "[]")),
        ({"priority": 10}, ("out-of-range", "priority", "10")),
        ({"priority": -1}, ("out-of-range", "priority", "-1")),
        ({"smartSendConfig": {"batchSize": -5}}, ("out-of-range", "smartSendConfig.batchSize", "-5")),
        ({"smartSendConfig": {"batchSize": 0}}, ("out-of-range", "smartSendConfig.batchSize", "0")),
        ({"smartSendConfig": {"delayMs": -1}}, ("out-of-range", "smartSendConfig.delayMs", "-1")),
        ({"smartSendConfig": {"strategy": "guess"}}, ("invalid-value", "smartSendConfig.strategy", "'guess'")),
        ({"content": {"type": "poll", "text": "x"}}, ("invalid-value", "content.type", "'poll'")),
        ({"content": {"type": "text", "text": ""}}, ("out-of-range", "content.text", '""')),
        ({"notBefore": "tomorrow"}, ("invalid-value", "notBefore", '"tomorrow"')),
        ({"notBefore": "2026-11-22T08:00:00"}, ("out-of-range", "notBefore", '"2026-11-22T08:00:00"')),
        (
            {"recipients": [{"jid": "6281200000000", "priority": 10}]},
            ("out-of-range", "recipients[0].priority", "10"),
        ),
    ],
)  # fmt: skip
def test_a_bad_value_is_refused_by_code_field_and_what_was_found(
    fields: dict[str, Any], expected: tuple[str, str, str]
) -> None:
    why = refused(encoded(**fields))
    assert summary(why) == expected
    assert why.allowed
    assert why.code in str(why)
    assert why.field in str(why)


def test_a_strategy_that_does_not_exist_is_refused_with_those_that_do() -> None:
    why = refused(encoded(smartSendConfig={"strategy": "guess"}))
    assert why.allowed == "tiered, progressive, adaptive, fixed"


@pytest.mark.parametrize("name", ["storyId", "sessionId"])
@pytest.mark.parametrize(
    "token",
    ["", "a.b", "*", ">", "a*", "a b", " a", "a ", "a\n", "\na", "a\t", "a/b", "a$", "ä", "a\x00", "٣"],
)
def test_an_id_that_is_no_subject_token_is_refused(name: str, token: str) -> None:
    why = refused(encoded(**{name: token}))
    assert (why.code, why.field) == ("out-of-range", name)
    assert "letters, digits" in why.allowed


def test_ids_may_be_as_long_as_promised_and_no_longer() -> None:
    assert accepted(encoded(storyId="a" * 128)).story_id == "a" * 128
    assert refused(encoded(storyId="a" * 129)).field == "storyId"
    assert decode(encoded(sessionId="s" * 64), "application/json").session_id == "s" * 64
    assert refused(encoded(sessionId="s" * 65)).field == "sessionId"


def test_recipients_come_from_exactly_one_source() -> None:
    for both in (encoded(recipientsRef="big"), encoded(recipientsRef="big", recipients=["nobody"])):
        assert summary(refused(both)) == ("recipients-source", "recipientsRef", "both")
    neither = refused(without("recipients"))
    assert summary(neither) == ("missing-field", "recipients", "nothing")
    assert "recipientsRef" in neither.allowed
    by_reference = decode(listed_in("big"), "application/json")
    assert (by_reference.recipients, by_reference.recipients_ref) == ([], "big")


@pytest.mark.parametrize("name", ["a", "_a", "sales/2026-11-21.txt.gz", "a" * 255])
def test_a_list_may_be_named_like_this(name: str) -> None:
    assert decode(listed_in(name), "application/json").recipients_ref == name


@pytest.mark.parametrize("name", ["", "a" * 256, ".", "../a", "/a", "a b", "a\n", "a*", ">", "ä", "a\x00"])
def test_a_list_may_not_be_named_like_this(name: str) -> None:
    why = refused(listed_in(name))
    assert (why.code, why.field) == ("out-of-range", "recipientsRef")
    assert "letters, digits" in why.allowed


@pytest.mark.parametrize("body", [request(), json_without_recipients("big")])
def test_a_request_that_is_written_again_says_the_same(body: dict[str, Any]) -> None:
    asked = decode(msgspec.json.encode(body), "application/json")
    assert decode(msgspec.json.encode(asked), "application/json") == asked
    assert decode(msgspec.msgpack.encode(asked), MSGPACK) == asked


@pytest.mark.parametrize(
    ("lines", "found"), [([], "no recipient at all"), (["nobody", "12"], "nobody"), ([""], "")]
)
def test_a_list_without_anybody_in_it_is_refused(lines: list[str], found: str) -> None:
    asked = decode(listed_in("big"), "application/json")
    with pytest.raises(BadRequest) as caught:
        to_story(delivery(listed_in("big")), asked, sort_out(lines, frozenset()), defaults=SmartSend())
    assert summary(caught.value) == ("no-valid-recipient", "recipientsRef", found)


def test_what_was_found_is_shortened_however_long_it_is() -> None:
    for why in (refused(encoded(storyId="a" * 100_000)), refused(encoded(**{"x" * 100_000: 1}))):
        assert len(why.found) < 150
        assert len(str(why)) < 500


@pytest.mark.parametrize(
    "words",
    [
        "missing required field `x`",
        "Object contains unknown field `chatId`",
        "x - at `$.recipients`",
        "Expected `int`, got `str`",
    ],
)
def test_words_in_a_value_do_not_change_the_code_of_its_refusal(words: str) -> None:
    why = refused(encoded(smartSendConfig={"strategy": words}))
    assert (why.code, why.field) == ("invalid-value", "smartSendConfig.strategy")


# Who a story may go to


@pytest.mark.parametrize(
    ("jid", "kind"),
    [
        ("120363021234567890@g.us", "a group"),
        ("6281234-1612345678@g.us", "a group"),
        ("120363021234567890@newsletter", "a newsletter"),
        ("status@broadcast", "a broadcast list"),
        ("STATUS@BROADCAST", "a broadcast list"),
        (" 1203630@G.us ", "a group"),
    ],
)
def test_a_request_that_names_a_group_newsletter_or_broadcast_is_refused_as_a_whole(
    jid: str, kind: str
) -> None:
    for recipients in ([people(1)[0], jid], [people(1)[0], {"jid": jid, "priority": 9}]):
        why = refused(encoded(recipients=recipients))
        assert summary(why) == ("target-not-allowed", "recipients[1]", kind)


@pytest.mark.parametrize("name", ["chatId", "to", "chat", "groupId", "jid", "target"])
def test_a_request_that_targets_a_chat_is_told_that_only_stories_are_sent(name: str) -> None:
    why = refused(encoded(**{name: "6281200000000@c.us"}))
    assert (why.code, why.field) == ("target-not-allowed", name)
    assert "status@broadcast" in why.allowed


def test_a_request_with_malformed_recipients_only_is_refused() -> None:
    why = refused(encoded(recipients=["nobody", "12", "@s.whatsapp.net"]))
    assert summary(why) == ("no-valid-recipient", "recipients[0]", "nobody")


def test_some_malformed_recipients_are_skipped_as_invalid() -> None:
    taken = accepted(encoded(recipients=["nobody", *people(2), "12"]))
    assert taken.recipients == people(2)
    assert taken.skipped == [Skipped("nobody", "invalid"), Skipped("12", "invalid")]
    assert taken.total == 4


def test_a_request_whose_recipients_are_all_suppressed_is_accepted_with_nobody_to_send_to() -> None:
    taken = accepted(encoded(recipients=[*people(2), people(1)[0]]), suppressed=frozenset(people(2)))
    assert taken.recipients == []
    assert {skip.reason for skip in taken.skipped} == {"suppressed"}


def test_a_request_for_another_session_than_its_subject_is_refused() -> None:
    why = refused(encoded(sessionId="other"))
    assert summary(why) == ("session-mismatch", "sessionId", "other")
    assert SESSION in why.allowed


# Media


@pytest.mark.parametrize(
    ("sources", "found"),
    [({}, "neither"), ({"url": "https://x/y.jpg", "data": "aGk="}, "both"), ({"data": ""}, "no bytes")],
)
def test_media_needs_exactly_one_source(sources: dict[str, str], found: str) -> None:
    why = refused(encoded(content=PHOTO | sources))
    assert (why.code, why.found) == ("media-source", found)
    assert why.field.startswith("content")


@pytest.mark.parametrize("kind", ["image", "video", "voice"])
def test_media_by_url_or_by_data_is_taken(kind: str) -> None:
    by_url = accepted(encoded(content={"type": kind, "mimetype": "a/b", "url": "https://x/y"}))
    by_data = accepted(encoded(content={"type": kind, "mimetype": "a/b", "data": "aGk="}))
    assert (by_url.content.url, by_data.content.data) == ("https://x/y", b"hi")  # type: ignore[union-attr] # media


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"url": "file:///etc/passwd"}, "content.url"),
        ({"url": "https://x y"}, "content.url"),
        ({"url": "https://x\n"}, "content.url"),
        ({"mimetype": "jpeg", "url": "https://x"}, "content.mimetype"),
        ({"mimetype": "image/jpeg\n", "url": "https://x"}, "content.mimetype"),
        ({"data": "no base64!"}, "content.data"),
    ],
)
def test_bad_media_fields_are_named(fields: dict[str, str], field: str) -> None:
    assert refused(encoded(content=PHOTO | fields)).field == field


# The wire


def test_messagepack_says_the_same_as_json() -> None:
    picture = base64.b64encode(b"picture").decode()
    body = request(recipients=5, priority=7, content=PHOTO | {"data": picture})
    packed = decode(msgspec.msgpack.encode(body | {"content": PHOTO | {"data": b"picture"}}), MSGPACK)
    assert packed == decode(msgspec.json.encode(body), "application/json")
    assert packed.content == Image(mimetype="image/jpeg", data=b"picture")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", ("not-decodable", "")),
        (b"\xc1", ("not-decodable", "")),
        (b"\x81\xa7storyId\xa2\xff\xfe", ("not-decodable", "")),
        (msgspec.msgpack.encode(request())[:-1], ("not-decodable", "")),
        (msgspec.msgpack.encode(request()) + b"\x01", ("not-decodable", "")),
        (b"\x90", ("wrong-type", "")),
        (msgspec.msgpack.encode({1: 2}), ("wrong-type", "")),
        (msgspec.msgpack.encode(request(priority=11)), ("out-of-range", "priority")),
        (msgspec.msgpack.encode(request(chatId="x")), ("target-not-allowed", "chatId")),
        (msgspec.msgpack.encode(request(story_id="a.b")), ("out-of-range", "storyId")),
    ],
)
def test_bad_messagepack_is_refused_like_bad_json(data: bytes, expected: tuple[str, str]) -> None:
    why = refused(data, MSGPACK)
    assert (why.code, why.field) == expected


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/xml", "json", "x" * 10_000])
def test_a_content_type_that_is_not_supported_is_refused(content_type: str) -> None:
    why = refused(encoded(), content_type)
    assert (why.code, why.field) == ("unsupported-content-type", "Content-Type")
    assert why.allowed == "application/json, application/msgpack"
    assert len(why.found) < 150


@pytest.mark.parametrize(
    "content_type", ["application/json", "Application/JSON; charset=utf-8", " application/json "]
)
def test_parameters_and_case_of_the_content_type_do_not_matter(content_type: str) -> None:
    assert isinstance(decode(encoded(), content_type), SendRequest)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (encoded(storyId="sale", priority=99), "sale"),
        (encoded(storyId="x" * 500), "x" * 128),
        (b"nonsense", None),
        (b"[]", None),
        (b"{}", None),
        (b'{"storyId": 5}', None),
        (b'{"storyId": "\xff"}', None),
        (b'{"storyId": {"a": 1}}', None),
    ],
)
def test_a_refused_request_is_named_by_its_story_id_where_that_can_be_read(
    data: bytes, found: str | None
) -> None:
    assert story_id_in(data) == found


# The options a request may choose


def test_a_request_chooses_its_options_over_the_defaults() -> None:
    config = {"strategy": "fixed", "batchSize": 250, "delayMs": 0, "regional": True}
    chosen = accepted(encoded(smartSendConfig=config, useSmartSend=False)).options
    assert (chosen.strategy, chosen.batch_size, chosen.batch_delay) == ("fixed", 250, 0)
    assert (chosen.regional, chosen.enabled) == (True, False)


def test_what_a_request_leaves_out_comes_from_the_defaults() -> None:
    defaults = SmartSend(strategy="tiered", batch_delay=7, enabled=False, batch_size=9)
    assert accepted(encoded(smartSendConfig={}), defaults=defaults).options == defaults
    assert accepted(encoded(), defaults=defaults).options == defaults


@pytest.mark.parametrize(("asked", "cap"), [(50, 50), (800, 800), (801, 800), (1_000_000, 800)])
def test_a_batch_size_lowers_the_cap_of_the_operator_and_never_raises_it(asked: int, cap: int) -> None:
    config = decode(encoded(smartSendConfig={"batchSize": asked}), "application/json").smart_send_config
    assert merged(SmartSend(max_batch_size=800), config, enabled=None).max_batch_size == cap
