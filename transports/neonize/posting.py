"""One call, start to end, in the process that hosts the client: whom it goes to, and whom it left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from msgspec import Struct

from stages.errors import ContentRefused, EngineFailure, RecipientsRejected
from stages.messages import Content
from transports.neonize.audience import NOT_ON_WHATSAPP, audience_of, left_out, own_jid
from transports.neonize.client import Client, ClientError, Privacy, Sent
from transports.neonize.frames import Post
from transports.neonize.mapping import failure_of
from transports.neonize.options import Targeting
from transports.neonize.staging import staged

Outcome = tuple[str, Mapping[str, str]]
"""The message id, and those left out with the reason."""


class Poster(Struct, frozen=True):
    """What posting takes. `message_of` makes and keeps messages; `account` is the linked device's JID."""

    client: Client
    account: str
    targeting: Targeting
    journal: Path
    message_of: Callable[[Content], object]
    note: Callable[[str], None]

    @property
    def own(self) -> str:
        """The account's own JID, which every post goes to."""
        return own_jid(self.account)


def post(poster: Poster, order: Post) -> Outcome:
    """Carry `order` out. Raises `EngineFailure`."""
    abilities = poster.client.abilities
    try:
        message = poster.message_of(order.content)
        if abilities.takes_recipients:
            return _to_named(poster, order, message)
        if poster.targeting == "contact-staging":
            return _to_staged(poster, order, message)
        return _to_audience(poster, order, message)
    except ClientError as error:
        raise failure_of(str(error), "prepare") from error


def audience(poster: Poster) -> list[str]:
    """Whom a post without chosen recipients goes to. Raises `EngineFailure`."""
    try:
        return audience_of(poster.client.contacts(), poster.client.privacy(), poster.own)
    except ClientError as error:
        raise failure_of(str(error), "prepare") from error


def _to_named(poster: Poster, order: Post, message: object) -> Outcome:
    """The library itself takes recipients."""
    missing = _missing(poster, order)
    targets = [jid for jid in order.recipients if jid not in missing]
    sent = _send(poster, order, message, targets)
    return sent.message_id, left_out(order.recipients, without_devices=missing, dropped=sent.dropped)


def _to_staged(poster: Poster, order: Post, message: object) -> Outcome:
    _check_privacy(poster.client.privacy())
    missing = _missing(poster, order)
    targets = set(order.recipients) - missing - {poster.own}
    with staged(poster.client, poster.journal, poster.account, targets, poster.note):
        sent = _send(poster, order, message, None)
    return sent.message_id, left_out(order.recipients, without_devices=missing, dropped=sent.dropped)


def _to_audience(poster: Poster, order: Post, message: object) -> Outcome:
    """One post to whoever the account shares its status with."""
    present = {*audience(poster), poster.own}
    missing = set(poster.client.without_devices(present - {poster.own}))
    sent = _send(poster, order, message, None)
    return sent.message_id, left_out(
        order.recipients, audience=present, without_devices=missing, dropped=sent.dropped
    )


def _send(poster: Poster, order: Post, message: object, targets: list[str] | None) -> Sent:
    message_id = order.message_id if poster.client.abilities.takes_message_id else None
    try:
        return poster.client.send(message, targets, message_id)
    except ClientError as error:
        raise failure_of(str(error), "send") from error


def _missing(poster: Poster, order: Post) -> set[str]:
    """Recipients that are not on WhatsApp. Raises `RecipientsRejected` where that leaves nobody."""
    missing = set(poster.client.without_devices(set(order.recipients) - {poster.own}))
    if missing.issuperset(order.recipients):
        raise RecipientsRejected(
            "none of the recipients is on WhatsApp", rejected=dict.fromkeys(order.recipients, NOT_ON_WHATSAPP)
        )
    return missing


_SETTINGS = {"blacklist": "My contacts except...", "whitelist": "Only share with..."}


def _check_privacy(privacy: Privacy) -> None:
    """Raises `ContentRefused` where the phone's setting and not the contact list decides who gets a post."""
    if privacy.kind == "contacts" or (privacy.kind == "blacklist" and not privacy.jids):
        return
    failure: EngineFailure = ContentRefused(
        f"the status privacy on the phone is `{_SETTINGS[privacy.kind]}`, which decides who gets a post and not the "
        "contact list: set it to `My contacts` (Updates > Status privacy), or use `targeting = audience`"
    )
    raise failure
