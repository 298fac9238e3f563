"""`storycast pair`: links a session to a WhatsApp account, as a linked device of somebody's phone."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Sequence
from typing import TextIO

import trio

from ops.exits import FAILED, SUCCESS, fail
from ops.serve import interruptible
from pipeline.client import open_client
from stages.errors import BadRequest, ControlRefused
from stages.masking import masked, without_user
from stages.messages import SESSION_ID
from stages.recipients import canonical
from transports.errors import Unreachable
from transports.neonize import InUse, Neonize, open_linking
from transports.neonize.frames import Linked, NotLinked, Scan, TypeIn
from transports.neonize.linking import Step
from transports.neonize.process import COMMAND

ON_THE_PHONE = "On the phone: WhatsApp > Settings > Linked devices > Link a device"
PHONE = re.compile(r"\+?[0-9 ().-]+")


async def pair(
    options: Neonize,
    url: str,
    session: str,
    *,
    phone: str | None,
    timeout: float,
    command: Sequence[str] = COMMAND,
) -> int:
    """Show a code until it was used, `timeout` seconds at most; then have the session served again.

    With `phone` the code is typed in on that phone, otherwise it is scanned.
    """
    _check_session(session)
    digits = None if phone is None else phone_digits(phone)
    screen = Screen(sys.stdout)
    async with interruptible():
        try:
            ended = await _linked(options, session, digits, timeout, screen, command)
        except InUse as error:
            return fail(
                f"{error}. Is it a worker that serves this session? A lost one is let go by itself.", FAILED
            )
        if ended is None:
            return fail(screen.late(timeout), FAILED)
        if isinstance(ended, NotLinked):
            return fail(_why(ended.reason), FAILED)
        account = masked(ended.jid.partition("@")[0].partition(":")[0])
        if ended.already:
            print(
                f"session {session} is linked to {account} already. To link another account, log this device out "
                f"on the phone, or use another session."
            )
            return SUCCESS
        print(f"session {session} is linked to {account}.")
        print(await _resumed(url, session))
    return SUCCESS


def phone_digits(written: str) -> str:
    """The digits of a phone number in international form. Raises `BadRequest`, which names the field."""
    jid = canonical(written) if PHONE.fullmatch(written.strip()) else None
    if jid is None:
        raise BadRequest(
            "invalid-phone",
            field="--phone",
            found=repr(written),
            allowed="a number in international form, 5 to 15 digits, such as +62 812-3456-7890",
        )
    return jid.partition("@")[0]


class Screen:
    """Shows the code that counts now; on a terminal in place of the one before."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._lines = 0
        self._shown = False

    def show(self, step: Step) -> None:
        """Show a code."""
        if isinstance(step, Scan):
            text = f"{qr(step.code)}{ON_THE_PHONE}, and scan this. It changes now and then.\n"
        elif isinstance(step, TypeIn):
            text = f"{ON_THE_PHONE} > Link with phone number instead, and type in:\n\n    {step.code}\n\n"
        else:
            return
        if self._lines and self._out.isatty():
            self._out.write(f"\x1b[{self._lines}A\x1b[J")
        self._out.write(text)
        self._out.flush()
        self._lines = text.count("\n")
        self._shown = True

    def late(self, timeout: float) -> str:
        """Why nothing came of it within `timeout` seconds."""
        if self._shown:
            return f"nobody used the code within {timeout:g} s: start again, or give it longer with --timeout"
        return f"WhatsApp gave no code within {timeout:g} s: is there a connection to the internet?"


def qr(code: str) -> str:
    """`code` as a QR code of half blocks, with a line break at the end."""
    import segno  # comes with neonize, and is needed here only

    drawn = io.StringIO()
    segno.make_qr(code, error="l").terminal(drawn, border=2, compact=True)
    return drawn.getvalue()


async def _linked(
    options: Neonize, session: str, digits: str | None, timeout: float, screen: Screen, command: Sequence[str]
) -> Linked | NotLinked | None:
    with trio.move_on_after(timeout):
        while True:
            async with open_linking(options, session, phone=digits, command=command) as steps:
                async for step in steps:
                    screen.show(step)
                    if isinstance(step, Linked | NotLinked):
                        return step
    return None


async def _resumed(url: str, session: str) -> str:
    """Have a worker serve the session again that it may have stopped, if there is one."""
    try:
        async with open_client(url, name="storycast pair") as client:
            status = await client.serve_again(session)
    except Unreachable:
        mend = f"storycast resume --session {session}"
        return f"NATS is out of reach at {without_user(url)}. If the session was stopped: {mend}"
    except ControlRefused as refusal:
        return f"The worker was asked to serve it again, and says: {refusal}"
    return "The next worker that runs serves it." if status is None else "A worker serves it again."


def _check_session(session: str) -> None:
    if not SESSION_ID.fullmatch(session):
        raise BadRequest(
            "invalid-session",
            field="--session",
            found=repr(session),
            allowed="1-64 letters, digits, `_` or `-`",
        )


def _why(reason: str) -> str:
    if "dial" in reason:
        return f"WhatsApp cannot be reached from here: is there a connection to the internet? ({reason})"
    return f"not linked: {reason}"
