"""`storycast send`: publish one request, and with --wait see it through."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from rich.console import Console

from ops.display import details, display_for
from ops.exits import FAILED, SUCCESS, USAGE, fail
from ops.logs import log_to_stderr
from ops.serve import interruptible
from ops.stories import send_and_follow
from pipeline.client import Answer, open_client
from stages.messages import Level, Rejection, SendRequest
from transports.bus import Stored


async def send(
    url: str,
    request: SendRequest,
    recipients: Iterable[str],
    *,
    level: Level,
    wait: bool,
    timeout: float,
    json: bool,
) -> int:
    """Send `request` to `recipients`; 0 when it is stored, or with `wait` when the story was a success in time."""
    log_to_stderr("WARNING")
    async with interruptible(), open_client(url, name="storycast send") as client:
        if not wait:
            return _accepted(
                request, await client.send(request, recipients=recipients, level=level), json=json
            )
        console = Console(stderr=json, highlight=False)
        display = display_for(console, silent=json)
        answer = await send_and_follow(
            client, request, display, recipients=recipients, level=level, timeout=timeout
        )
    if answer is None:
        return fail(
            "there is no report yet; the request is kept, and the same command shows it later", FAILED
        )
    return _conclude(answer, console, json=json)


def _accepted(request: SendRequest, stored: Stored, *, json: bool) -> int:
    if json:
        accepted = {"storyId": request.story_id, "sessionId": request.session_id, "sequence": stored.sequence}
        print(msgspec.json.encode(accepted).decode())
    else:
        print(f"accepted: story {request.story_id} of session {request.session_id}")
    return SUCCESS


def _conclude(answer: Answer, console: Console, *, json: bool) -> int:
    if json:
        print(msgspec.json.format(msgspec.json.encode(answer)).decode())
    elif isinstance(answer, Rejection):
        return fail(answer.message)
    else:
        console.print(details(answer))
    if isinstance(answer, Rejection):
        return USAGE
    return SUCCESS if answer.success else FAILED
