"""Controls: asking the worker that has a story to pause, resume or cancel it, and where it stands."""

from __future__ import annotations

import msgspec

from stages.errors import ControlRefused
from stages.messages import Action, ControlError, ControlRequest, StoryStatus
from transports.bus import Bus, Outbound
from transports.errors import NoResponders
from transports.subjects import control_subject


async def control(
    bus: Bus, session: str, story: str | None, action: Action, *, timeout: float
) -> StoryStatus:
    """Ask for `action`, and return where the story stands after it; without a story the session is meant as a whole.

    Raises `ControlRefused` if the worker will not, `Unreachable` if none runs or none answers within `timeout` seconds.
    """
    what = f"session {session}" if story is None else f"story {story}"
    request = Outbound(control_subject(session, story), msgspec.json.encode(ControlRequest(action=action)))
    try:
        answer = await bus.request(request, timeout=timeout)
    except NoResponders as error:
        raise NoResponders(f"no worker is running that could {_VERBS[action]} {what}") from error
    return _status(answer.data)


_VERBS: dict[Action, str] = {
    "pause": "pause",
    "resume": "resume",
    "cancel": "cancel",
    "status": "tell the status of",
}


def _status(data: bytes) -> StoryStatus:
    try:
        if "code" in msgspec.json.decode(data, type=dict[str, msgspec.Raw]):
            refusal = msgspec.json.decode(data, type=ControlError)
            raise ControlRefused(refusal.message, code=refusal.code)
        return msgspec.json.decode(data, type=StoryStatus)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ControlRefused(
            f"the worker's answer cannot be read: {error}", code="unreadable-answer"
        ) from error
