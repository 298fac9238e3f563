"""The installed neonize as a `Client`. Imported in the process that hosts a session, and nowhere else.

Loading it starts a Go runtime that prints to stdout and can end the process; see `child`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import neonize
from neonize.client import NewClient
from neonize.events import (
    ClientOutdatedEv,
    ConnectedEv,
    ConnectFailureEv,
    DisconnectedEv,
    KeepAliveRestoredEv,
    KeepAliveTimeoutEv,
    LoggedOutEv,
    PairStatusEv,
    StreamErrorEv,
    StreamReplacedEv,
    TemporaryBanEv,
)
from neonize.exc import NeonizeError
from neonize.proto import Neonize_pb2 as proto
from neonize.utils.jid import build_jid

from stages.messages import Content
from transports.neonize import library_log, library_messages
from transports.neonize.client import ClientError, Contact, Heard, Privacy, PrivacyKind, Sent
from transports.neonize.drops import Drops
from transports.neonize.frames import Abilities
from transports.neonize.probe import parameters_of

STATUS: Final = build_jid("status", "broadcast")
_PERSONAL: Final = frozenset({"s.whatsapp.net", "lid"})


class Library:
    """A client on a database file. Lines of its log go to `note`, numbers and all."""

    def __init__(self, database: Path, note: Callable[[str], None]) -> None:
        self._drops = Drops()
        self._log = library_log.follow(self._drops, note)
        self._client = NewClient(str(database), uuid="storycast")
        self._parameters = parameters_of(self._client.send_message)

    @property
    def abilities(self) -> Abilities:
        """By the signature of its `send_message`."""
        return Abilities(
            takes_message_id=self._parameters.message_id is not None,
            takes_recipients=self._parameters.recipients is not None,
            version=neonize.__version__,
        )

    @property
    def linked(self) -> bool:
        """By the device that it has loaded: it is emptied after its row was removed."""
        return bool(_mapped(self._client.get_me).JID.User)

    def run(self, heard: Callable[[Heard], None]) -> None:
        """Connect, and report events from Go's threads until `stop`. Raises `ClientError`."""
        self._client.event.qr(lambda _, code: heard(Heard("Scan", code.decode())))
        for kind, read in _EVENTS.items():
            self._client.event(kind)(lambda _, event, read=read: heard(read(event)))
        _mapped(self._client.connect)

    def stop(self) -> None:
        """End `run`."""
        self._client.stop()

    def build(self, content: Content, data: bytes | None) -> object:
        """The message for `content`, its media uploaded. Raises `ClientError`."""
        return _mapped(library_messages.message_of, self._client, content, data)

    def send(self, message: object, recipients: Sequence[str] | None, message_id: str | None) -> Sent:
        """Post it. Raises `ClientError`."""
        extra: dict[str, Any] = {}
        if self._parameters.recipients and recipients is not None:
            extra[self._parameters.recipients] = [_jid(each) for each in recipients]
        if self._parameters.message_id and message_id is not None:
            extra[self._parameters.message_id] = message_id
        answer = _mapped(self._client.send_message, STATUS, message, **extra)
        self._log.settle()  # what it left out was logged before it answered
        return Sent(answer.ID, self._drops.take(answer.ID))

    def contacts(self) -> Sequence[Contact]:
        """The local contact list. Raises `ClientError`."""
        found = _mapped(self._client.contact.get_all_contacts)
        return [
            Contact(_name(each.JID), each.Info.FullName, each.Info.FirstName)
            for each in found
            if each.JID.Server in _PERSONAL
        ]

    def rename(self, contacts: Sequence[Contact]) -> None:
        """Write names into the local contact list, in one transaction. Raises `ClientError`."""
        entries = [
            proto.ContactEntry(JID=_jid(each.jid), FullName=each.full_name, FirstName=each.first_name)
            for each in contacts
        ]
        if entries:
            _mapped(self._client.contact.put_all_contact_name, entries)

    def privacy(self) -> Privacy:
        """Asked of WhatsApp. Raises `ClientError`."""
        found = _mapped(self._client.get_status_privacy)
        if not found:
            return Privacy()
        first = found[0]  # the one that is in force
        return Privacy(_PRIVACY[first.Type], frozenset(map(_name, first.List)))

    def numbers(self, hidden: Collection[str]) -> Mapping[str, str]:
        """Out of the local store."""
        return {jid: number for jid in hidden if (number := self._number(jid))}

    def without_devices(self, jids: Collection[str]) -> Collection[str]:
        """Asked of WhatsApp, as the post will do, which then knows those that have one. Raises `ClientError`."""
        if not jids:
            return ()
        found = _mapped(self._client.get_user_devices, *map(_jid, jids))
        having = {_name(device) for device in found if device.Server in _PERSONAL}
        if having - set(jids):  # answered under other names than asked: nothing follows from a missing one
            return ()
        return set(jids) - having

    def pairing_code(self, phone: str) -> str:
        """Asked of WhatsApp. Raises `ClientError`."""
        code: str = _mapped(self._client.PairPhone, phone, True)
        return code

    def _number(self, hidden: str) -> str:
        try:
            found = self._client.get_pn_from_lid(_jid(hidden))
        except NeonizeError:  # the store knows none, or cannot say
            return ""
        return _name(found) if found.User else ""


def _mapped(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    try:
        return fn(*args, **kwargs)
    except NeonizeError as error:
        raise ClientError(str(error)) from error


def _jid(name: str) -> proto.JID:
    user, _, server = name.partition("@")
    return build_jid(user, server)


def _name(jid: proto.JID) -> str:
    return f"{jid.User}@{jid.Server}"


def _enum_name(event: Any, field: str) -> str:
    """The name of an enumerator in `event`, empty where the field is not set."""
    if not event.HasField(field):
        return ""
    value = event.DESCRIPTOR.fields_by_name[field].enum_type.values_by_number.get(getattr(event, field))
    return str(value.name).lower().replace("_", " ") if value else ""


def _pair_status(event: Any) -> Heard:
    if event.Status == proto.PairStatus.SUCCESS:
        return Heard("PairStatus", _name(event.ID))
    return Heard("PairError", event.Error)


_PRIVACY: Final[dict[int, PrivacyKind]] = {
    proto.StatusPrivacy.CONTACTS: "contacts",
    proto.StatusPrivacy.BLACKLIST: "blacklist",
    proto.StatusPrivacy.WHITELIST: "whitelist",
}

_EVENTS: Final[dict[Any, Callable[[Any], Heard]]] = {
    ConnectedEv: lambda _: Heard("Connected"),
    DisconnectedEv: lambda _: Heard("Disconnected"),
    KeepAliveTimeoutEv: lambda _: Heard("KeepAliveTimeout"),
    KeepAliveRestoredEv: lambda _: Heard("KeepAliveRestored"),
    StreamErrorEv: lambda event: Heard("StreamError", event.Code),
    StreamReplacedEv: lambda _: Heard("StreamReplaced"),
    LoggedOutEv: lambda event: Heard("LoggedOut", _enum_name(event, "Reason")),
    ClientOutdatedEv: lambda _: Heard("ClientOutdated"),
    ConnectFailureEv: lambda event: Heard(
        "ConnectFailure", f"{_enum_name(event, 'Reason')} {event.Message}".strip() or "without a reason"
    ),
    TemporaryBanEv: lambda event: Heard("TemporaryBan", _enum_name(event, "Code"), event.Expire or None),
    PairStatusEv: _pair_status,
}
