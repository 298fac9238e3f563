"""Opening the waha engine finds out what this WAHA can do, and says when it cannot."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import trio
import trustme

from stages.errors import ContentRefused, SessionLost, Unavailable
from stages.messages import Image, Text
from tests.waha import Fault, Settings, open_loopback
from tests.waha.faults import answer, manner, session_is
from tests.waha.rig import open_rig
from transports.waha import Waha, open_waha

HELLO = Text(text="Hello!")
ID = "3EB0AAAAAAAAAAAAAAAAAA"


@pytest.mark.trio
@pytest.mark.parametrize(
    ("engine", "version", "reuses", "targets", "acknowledges", "most"),
    [
        ("GOWS", "2026.7.1", True, True, True, 499),
        ("GOWS", "2026.4.3", True, True, True, 4_999),
        ("GOWS", "2025.3.1", False, False, True, 4_999),
        ("NOWEB", "2026.7.1", True, True, False, 4_999),
        ("NOWEB", "2025.3.1", False, True, False, 4_999),
        ("WEBJS", "2026.7.1", False, False, False, 4_999),
        ("WPP", "2026.7.1", False, False, False, 4_999),
    ],
)
@pytest.mark.parametrize("state", ["WORKING", "STARTING", "MISSING"])
async def test_capabilities_are_those_of_engine_and_version(
    engine: str, version: str, reuses: bool, targets: bool, acknowledges: bool, most: int, state: str
) -> None:
    async with open_rig(Settings(engine=engine, version=version, state=state)) as rig, rig.open() as waha:
        can = waha.capabilities
    assert (can.reuses_message_id, can.targets_recipients) == (reuses, targets)
    assert (can.acknowledges, can.max_batch, can.lists_audience) == (acknowledges, most, False)
    assert rig.waha.ledger.problems == []


@pytest.mark.trio
@pytest.mark.parametrize(
    ("version", "tier", "images"),
    [("2026.5.1", "CORE", False), ("2026.5.1", "PLUS", True), ("2026.6.1", "CORE", True)],
)
async def test_media_needed_plus_before_2026_6_1(version: str, tier: str, images: bool) -> None:
    async with open_rig(Settings(version=version, tier=tier)) as rig, rig.open() as waha:
        assert ("image" in waha.capabilities.kinds) is images
        if not images:
            with pytest.raises(ContentRefused):
                await waha.send(Image(mimetype="image/png", data=b"x"), rig.people(1), ID)
    assert rig.waha.posts == 0


@pytest.mark.trio
async def test_an_old_version_posts_under_ids_of_its_own() -> None:
    async with open_rig(Settings(engine="NOWEB", version="2025.2.1")) as rig, rig.open() as waha:
        receipts = [await waha.send(HELLO, rig.people(1), None) for _ in range(2)]
    assert [receipt.message_id for receipt in receipts] == [call.message_id for call in rig.waha.ledger.calls]
    assert rig.waha.ledger.problems == []


@pytest.mark.trio
@pytest.mark.parametrize("said", [session_is("STARTING"), answer(500, {}), answer(503, {})])
async def test_a_session_that_stops_working_while_it_is_asked_keeps_its_ids(said: Fault) -> None:
    async with open_rig() as rig:
        rig.waha.meets(said, on="new-id")
        async with rig.open() as waha:
            assert waha.capabilities.reuses_message_id


NO_IDS = [answer(404, {"message": "Cannot GET"}), answer(405, {}), answer(501, {}), answer(200, {})]


@pytest.mark.trio
@pytest.mark.parametrize("said", NO_IDS)
@pytest.mark.parametrize("settings", [Settings(), Settings(session_key=True), Settings(engine="NOWEB")])
async def test_one_odd_answer_does_not_make_another_kind_of_engine(settings: Settings, said: Fault) -> None:
    async with open_rig(settings) as rig:
        rig.waha.meets(said, on="new-id")
        with pytest.raises(Unavailable, match="no message id"):
            async with rig.open():
                pass
        async with rig.open() as waha:
            assert waha.capabilities.reuses_message_id


@pytest.mark.trio
async def test_where_the_version_is_hidden_a_session_that_cannot_be_asked_is_not_guessed_about() -> None:
    async with open_rig(Settings(session_key=True, state="STARTING")) as rig:
        with pytest.raises(Unavailable, match="starting"):
            async with rig.open():
                pass
    async with open_rig(Settings(session_key=True)) as rig:
        rig.waha.meets(answer(503, {}), on="new-id")
        with pytest.raises(Unavailable, match="hides its version"):
            async with rig.open():
                pass


@pytest.mark.trio
async def test_webjs_gets_nothing_to_post() -> None:
    async with open_rig(Settings(engine="WEBJS")) as rig, rig.open() as waha:
        with pytest.raises(ContentRefused):
            await waha.send(HELLO, rig.people(1), ID)
    assert rig.waha.posts == 0


@pytest.mark.trio
async def test_the_size_of_batches_can_be_set_where_waha_was_told_another() -> None:
    async with open_rig(options=Waha(max_batch=2_000)) as rig, rig.open() as waha:
        assert waha.capabilities.max_batch == 2_000


@pytest.mark.trio
async def test_nobody_there_is_unavailable() -> None:
    async with open_loopback() as loopback:
        url = loopback.url
    with pytest.raises(Unavailable, match="cannot be reached"):
        async with open_waha(Waha(url=url), "main"):
            pass


FAULTS = [
    manner("silent"),
    manner("dribble"),
    manner("reset"),
    manner("cut"),
    answer(500, {}),
    answer(429, {}),
    answer(302, {}),
]


@pytest.mark.trio
@pytest.mark.parametrize("fault", [*FAULTS, answer(200, b"<html>"), answer(404, {"message": "Cannot GET /"})])
async def test_a_server_that_does_not_say_what_it_is_is_unavailable(fault: Fault) -> None:
    options = Waha(open_timeout=0.3)
    async with open_rig(Settings(state="WORKING"), options=options) as rig:
        rig.waha.meets(fault, on="version")
        rig.waha.meets(answer(200, {"name": "main", "status": "WORKING"}), on="session")
        with pytest.raises(Unavailable):
            async with rig.open():
                pass


@pytest.mark.trio
async def test_a_session_that_does_not_say_what_it_is_is_unavailable() -> None:
    for fault in FAULTS:
        async with open_rig(options=Waha(open_timeout=0.3)) as rig:
            rig.waha.meets(fault, on="session")
            with pytest.raises(Unavailable):
                async with rig.open():
                    pass


@pytest.mark.trio
async def test_a_refused_key_is_a_lost_session_that_names_the_key_as_the_cause() -> None:
    async with open_rig(Settings(api_key="right"), options=Waha(api_key="wrong")) as rig:
        with pytest.raises(SessionLost, match="refuses the API key"):
            async with rig.open():
                pass


@pytest.mark.trio
async def test_a_key_for_one_session_is_enough() -> None:
    async with open_rig(Settings(session_key=True)) as rig, rig.open() as waha:
        assert waha.capabilities.reuses_message_id
        assert waha.capabilities.max_batch == 499
        await waha.send(HELLO, rig.people(1), ID)


@pytest.mark.trio
async def test_the_key_comes_from_the_options_or_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("right\n")
    for options in (Waha(api_key="right"), Waha(api_key_file=str(tmp_path / "key"))):
        async with open_rig(Settings(api_key="right"), options=options) as rig, rig.open() as waha:
            await waha.send(HELLO, rig.people(1), ID)
        assert all(one.headers["x-api-key"] == "right" for one in rig.waha.requests)


@pytest.mark.trio
@pytest.mark.parametrize("field", ["api_key_file", "ca_file"])
async def test_a_file_that_cannot_be_read_is_named(field: str, tmp_path: Path) -> None:
    missing = {"url": "https://127.0.0.1:1", field: str(tmp_path / "nothing-there")}
    options = msgspec.convert(missing, Waha)
    with pytest.raises(Unavailable, match="nothing-there"):
        async with open_waha(options, "main"):
            pass


@pytest.mark.trio
@pytest.mark.parametrize("written", [b"", b"two words", b"two\nlines", b"\xff\xfe", "schlüssel".encode()])
async def test_a_file_without_a_key_is_named(written: bytes, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(written)
    with pytest.raises(Unavailable, match="API key file"):
        async with open_waha(Waha(api_key_file=str(tmp_path / "key")), "main"):
            pass


@pytest.mark.trio
@pytest.mark.parametrize("url", ["http://127.0.0.1:99999", "http://nowhere.invalid"])
async def test_an_address_that_leads_nowhere_is_unavailable(url: str) -> None:
    with pytest.raises(Unavailable):
        async with open_waha(Waha(url=url), "main"):
            pass


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:3000",
        "http://user:secret@waha",
        "http://waha?x=1",
        "http://a:b",
        "http://[",
        "ftp://waha",
        "http://waha\n",
    ],
)
def test_an_address_is_http_and_holds_no_secret(url: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"url": url}, Waha)


def test_the_key_is_in_no_repr() -> None:
    options = Waha(api_key="very-secret-key", api_key_file="/run/very-secret")
    assert "very-secret" not in repr(options)
    assert "very-secret" not in repr(list(options.__rich_repr__()))


@pytest.mark.trio
async def test_a_redirect_takes_the_key_nowhere() -> None:
    async with (
        open_loopback() as elsewhere,
        open_rig(options=Waha(api_key="secret", timeout=5)) as rig,
        rig.open() as waha,
    ):
        rig.waha.meets(answer(307, b"", location=f"{elsewhere.url}/api/main/status/text"))
        with pytest.raises(Unavailable):
            await waha.send(HELLO, rig.people(1), ID)
        assert elsewhere.requests == []


@pytest.mark.trio
async def test_proxies_of_the_environment_get_neither_key_nor_content(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with open_loopback() as proxy, open_rig() as rig:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("all_proxy", proxy.url)
        async with rig.open() as waha:
            await waha.send(HELLO, rig.people(1), ID)
        assert proxy.requests == []


Trusting = Callable[[Path], Waha]


@pytest.mark.trio
@pytest.mark.parametrize(
    "trusting",
    [lambda ca: Waha(ca_file=str(ca)), lambda _: Waha(verify_tls=False)],
    ids=["its authority", "anybody"],
)
async def test_over_tls_it_posts_to_a_server_it_trusts(trusting: Trusting, tmp_path: Path) -> None:
    async with open_loopback(tls=_certified(tmp_path / "ca.pem")) as loopback:
        options = trusting(tmp_path / "ca.pem")
        async with open_waha(_at(options, loopback.url), "main") as waha:
            await waha.send(HELLO, ["6281200000000@s.whatsapp.net"], ID)
        assert len(loopback.ledger.calls) == 1


@pytest.mark.trio
@pytest.mark.parametrize("other", [False, True], ids=["the usual authorities", "another authority"])
async def test_a_certificate_that_is_not_trusted_is_unavailable_and_sees_no_key(
    other: bool, tmp_path: Path
) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    async with open_loopback(tls=_certified(tmp_path / "ca.pem")) as loopback:
        options = Waha(ca_file=str(tmp_path / "other.pem") if other else "", api_key="secret")
        with pytest.raises(Unavailable, match="not trusted"):
            async with open_waha(_at(options, loopback.url), "main"):
                pass
        assert loopback.requests == []


@pytest.mark.trio
async def test_a_connection_that_is_never_accepted_is_unavailable() -> None:
    with trio.socket.socket() as deaf:
        await deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        with pytest.raises(Unavailable):
            async with open_waha(Waha(url=url, open_timeout=0.3), "main"):
                pass


def _at(options: Waha, url: str) -> Waha:
    return Waha(
        url=url, api_key=options.api_key, ca_file=options.ca_file, verify_tls=options.verify_tls, timeout=10
    )


def _certified(ca_file: Path) -> ssl.SSLContext:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(ca_file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context
