"""The wire contract: whatever is said comes out as it went in, and what is not understood is no success."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages import errors
from stages.engine import Receipt
from stages.errors import (
    AccountRestricted,
    ContentRefused,
    EngineFailure,
    OutcomeUnknown,
    RateLimited,
    RecipientsRejected,
    SessionLost,
    TooLarge,
    Unavailable,
)
from stages.masking import masked
from transports.remote.replies import fitting
from transports.remote.wire import (
    CODES,
    LONGEST_MESSAGE,
    LONGEST_REASON,
    EngineAudience,
    EngineFailed,
    EngineReceipt,
    EngineReport,
    Undecodable,
    answer_in,
    call_in,
    error_headers,
    failure_answer,
    receipt_answer,
)

letters = st.characters(exclude_categories=["Cs"])
words = st.text(letters, max_size=LONGEST_MESSAGE).map(masked)
named = st.dictionaries(words, st.text(letters, max_size=LONGEST_REASON).map(masked), max_size=5)
plain = (Unavailable, OutcomeUnknown, TooLarge, AccountRestricted, SessionLost, ContentRefused)
failures = st.one_of(
    *(st.builds(kind, words) for kind in plain),
    st.builds(RateLimited, words, retry_after=st.none() | st.floats(0, 1e6)),
    st.builds(RecipientsRejected, words, rejected=named),
)


def parts(failure: EngineFailure) -> tuple[object, ...]:
    """All that a failure says."""
    return type(failure), str(failure), vars(failure)


def is_kind(thing: object) -> bool:
    return isinstance(thing, type) and issubclass(thing, EngineFailure) and thing is not EngineFailure


def travelled(failure: EngineFailure) -> EngineFailure:
    with pytest.raises(EngineFailure) as raised:
        answer_in(msgspec.json.encode(failure_answer(failure)), EngineReceipt)
    return raised.value


@given(failures)
def test_every_failure_comes_out_equal(failure: EngineFailure) -> None:
    assert parts(travelled(failure)) == parts(failure)


def test_every_kind_of_failure_there_is_can_travel() -> None:
    assert set(CODES) == {it for it in vars(errors).values() if is_kind(it)}
    assert len(set(CODES.values())) == len(CODES)


@given(words, named)
def test_every_receipt_comes_out_equal(message_id: str, failed: dict[str, str]) -> None:
    receipt = receipt_answer(Receipt(message_id=message_id, failed=failed))
    assert answer_in(msgspec.json.encode(receipt), EngineReceipt) == receipt


@given(st.text(max_size=2_000))
def test_whatever_a_failure_says_can_be_sent_and_its_headers_are_one_line_each(text: str) -> None:
    answer = failure_answer(ContentRefused(text))
    assert isinstance(travelled(ContentRefused(text)), ContentRefused)
    for line in error_headers(answer).values():
        assert line.isascii()
        assert line.isprintable()
        assert line == line.strip() != ""


@given(st.text(min_size=1))
def test_an_unknown_kind_of_failure_leaves_the_outcome_unknown(kind: str) -> None:
    known = {failure.kind for failure in CODES}
    with pytest.raises(EngineFailure) as raised:
        answer_in(msgspec.json.encode({"type": "failure", "kind": kind}), EngineReceipt)
    assert kind in known or raised.type is OutcomeUnknown


@given(st.binary(max_size=200))
def test_bytes_that_are_no_answer_are_never_one(data: bytes) -> None:
    with pytest.raises(Undecodable):
        answer_in(data, EngineReport)
    with pytest.raises(Undecodable):
        call_in(data)


NUMBER = "6281234567890"
LONG = f"{NUMBER}@s.whatsapp.net is gone " + "x" * 100_000


@pytest.mark.parametrize("kind", [*(failure.kind for failure in CODES), LONG])
def test_what_a_gateway_says_holds_no_phone_number_and_is_not_long(kind: str) -> None:
    answer = EngineFailed(kind=kind, message=LONG, rejected={f"{NUMBER}@s.whatsapp.net": LONG})
    with pytest.raises(EngineFailure) as raised:
        answer_in(msgspec.json.encode(answer), EngineReceipt)
    reasons = list(getattr(raised.value, "rejected", {}).values())
    assert all(NUMBER not in text for text in (str(raised.value), *reasons))
    assert len(str(raised.value)) <= LONGEST_MESSAGE
    assert all(len(reason) <= LONGEST_REASON for reason in reasons)


def test_what_cannot_be_read_is_not_quoted_with_its_phone_numbers() -> None:
    with pytest.raises(Undecodable) as raised:
        answer_in(f'{{"type": "{LONG}"}}'.encode(), EngineReceipt)
    assert NUMBER not in str(raised.value)
    assert len(str(raised.value)) <= 200


def test_a_negative_wait_is_none_at_all() -> None:
    data = b'{"type": "failure", "kind": "rate-limited", "retryAfter": -3}'
    with pytest.raises(RateLimited) as raised:
        answer_in(data, EngineReceipt)
    assert raised.value.retry_after == 0


def test_a_call_with_a_field_that_we_do_not_know_is_none() -> None:
    call = {"callId": "1", "content": {"type": "text", "text": "Hi"}, "recipients": ["a"], "deadlineMs": 1}
    assert call_in(msgspec.json.encode(call)).targeted
    with pytest.raises(Undecodable, match="canBeReshared"):
        call_in(msgspec.json.encode(call | {"canBeReshared": False}))


long_named = st.dictionaries(words, words.map(lambda text: text * 6), max_size=5)


@given(
    st.one_of(
        st.builds(EngineReceipt, message_id=words, failed=long_named),
        st.builds(EngineFailed, kind=st.just("recipients-rejected"), message=words, rejected=long_named),
        st.builds(EngineAudience, recipients=st.lists(words, max_size=20)),
    ),
    st.integers(5_000, 20_000),
)
def test_an_answer_that_does_not_fit_is_cut_to_what_is_true(
    answer: EngineReceipt | EngineFailed | EngineAudience, room: int
) -> None:
    sent, data = fitting(answer, room)
    assert len(data) <= room
    if len(msgspec.json.encode(answer)) <= room:
        assert sent == answer
    if isinstance(answer, EngineReceipt) and isinstance(sent, EngineReceipt):
        assert sent.failed.keys() == answer.failed.keys()
    elif isinstance(answer, EngineReceipt):
        assert isinstance(sent, EngineFailed)
        assert sent.kind == "outcome-unknown"
