"""One call, start to end, in the process that hosts the client: whom it goes to, and whom it left out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from msgspec import Struct

from stages.errors import ContentRefused, EngineFailure, RecipientsRejected
from stages.messages import Content
from stages.recipients import canonical
from transports.neonize.audience import (
    NOT_ON_WHATSAPP,
    Audience,
    audience_of,
    hidden_in,
    left_out,
    own_jid,
    shared_with,
)
from transports.neonize.client import Client, ClientError, Privacy, Sent
from transports.neonize.frames import Post
from transports.neonize.mapping import failure_from, in_words
from transports.neonize.options import Targeting
from transports.neonize.staging import recover, staged

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
    with _nothing_sent():
        went = _way(poster)(poster, order, _made(poster, order.content))
    return went.sent.message_id, left_out(
        order.recipients,
        audience=went.audience,
        without_devices=went.missing,
        dropped=went.sent.dropped,
        numbers=went.numbers,
    )


def audience(poster: Poster) -> list[str]:
    """Whom a post without chosen recipients goes to. Raises `EngineFailure`."""
    with _nothing_sent():
        return sorted(_present(poster).people)


def _present(poster: Poster) -> Audience:
    # While names are staged, the contact list says whom an earlier post went to.
    recover(poster.client, poster.journal, poster.account, poster.note)
    jids = shared_with(poster.client.contacts(), poster.client.privacy())
    return audience_of(jids, poster.client.numbers(hidden_in(jids)), poster.own)


class _Went(Struct, frozen=True):
    """A post that was acknowledged, what had no device, and the audience it went to if it went to that."""

    sent: Sent
    missing: Collection[str]
    audience: Collection[str] | None = None
    numbers: Mapping[str, str] = {}


@contextmanager
def _nothing_sent() -> Iterator[None]:
    """Whatever goes wrong in the block, the post itself aside, precedes it. Raises `EngineFailure` and nothing else."""
    try:
        yield
    except EngineFailure:
        raise
    except Exception as error:  # the process lives on, and the call is known to have sent nothing
        raise failure_from(error, "prepare") from error


def _made(poster: Poster, content: Content) -> object:
    try:
        return poster.message_of(content)
    except (EngineFailure, ClientError, OSError, MemoryError):
        raise
    except Exception as error:  # what a media file brings out in whatever reads it is brought out each time
        raise ContentRefused(f"no message can be made of the story: {in_words(error)}") from error


def _way(poster: Poster) -> Callable[[Poster, Post, object], _Went]:
    if poster.client.abilities.takes_recipients:
        return _to_named
    return _to_staged if poster.targeting == "contact-staging" else _to_audience


def _to_named(poster: Poster, order: Post, message: object) -> _Went:
    """The library itself takes recipients."""
    missing = _missing(poster, order)
    targets = [jid for jid in order.recipients if jid not in missing]
    return _Went(_send(poster, order, message, targets), missing)


def _to_staged(poster: Poster, order: Post, message: object) -> _Went:
    _check_privacy(poster.client.privacy())
    missing = _missing(poster, order)
    targets = set(order.recipients) - missing - {poster.own}
    with staged(poster.client, poster.journal, poster.account, targets, poster.note):
        return _Went(_send(poster, order, message, None), missing)


def _to_audience(poster: Poster, order: Post, message: object) -> _Went:
    """One post to whoever the account shares its status with, as long as all of them are recipients."""
    missing = set(poster.client.without_devices(set(order.recipients) - {poster.own}))
    # Last of all: people who come in after this get a story that nobody has looked at for them.
    present = _present(poster)
    _check_nobody_came(present.people - set(order.recipients))
    with _without(poster, present.nobody):
        sent = _send(poster, order, message, None)
    return _Went(sent, missing, present.people | {poster.own}, present.numbers)


def _without(poster: Poster, nobody: Collection[str]) -> AbstractContextManager[None]:
    """Keep a post from those in the contact list who were not listed. Raises `ContentRefused` where it cannot."""
    if not nobody:
        return nullcontext()
    client = poster.client
    if client.privacy().kind == "whitelist":
        raise ContentRefused(
            f"of {len(nobody)} in `Only share with...` the phone number is not known, so that nobody can tell who "
            "they are: take them out there, or set the status privacy to `My contacts`"
        )
    others = (contact.jid for contact in client.contacts() if contact.full_name and contact.jid not in nobody)
    named = {jid for each in others if (jid := canonical(each))}
    return staged(client, poster.journal, poster.account, named, poster.note)


def _send(poster: Poster, order: Post, message: object, targets: list[str] | None) -> Sent:
    message_id = order.message_id if poster.client.abilities.takes_message_id else None
    try:
        return poster.client.send(message, targets, message_id)
    except Exception as error:  # from here on somebody may have it, whatever goes wrong
        raise failure_from(error, "send") from error


def _missing(poster: Poster, order: Post) -> set[str]:
    """Recipients that are not on WhatsApp. Raises `RecipientsRejected` where that leaves nobody."""
    missing = set(poster.client.without_devices(set(order.recipients) - {poster.own}))
    if missing.issuperset(order.recipients):
        raise RecipientsRejected(
            "none of the recipients is on WhatsApp", rejected=dict.fromkeys(order.recipients, NOT_ON_WHATSAPP)
        )
    return missing


def _check_nobody_came(newcomers: Collection[str]) -> None:
    """Raises `ContentRefused` where a post would go to people whom nobody has counted or held against a list."""
    if newcomers:
        people = "1 person" if len(newcomers) == 1 else f"{len(newcomers)} people"
        raise ContentRefused(
            f"{people} came into the audience after the story was taken up, so nobody was sent it: publish it again "
            "under another id, or use `targeting = contact-staging`"
        )


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
