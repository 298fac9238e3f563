"""Whether the session's engine can do what a request asks for: if not, it is refused before anybody got it."""

from __future__ import annotations

from stages.engine import Capabilities
from stages.errors import BadRequest
from stages.messages import SendRequest
from stages.recipients import Roster

TARGETING = (
    'with this engine audience: "contacts"; an engine that targets recipients is waha, '
    "or neonize with targeting = contact-staging"
)
"""What to do about a list of recipients that an engine cannot serve."""


def check_capabilities(request: SendRequest, capabilities: Capabilities) -> None:
    """Raise `BadRequest` if the engine cannot do what `request` asks for."""
    kind = request.content.__struct_config__.tag
    if kind not in capabilities.kinds:
        allowed = ", ".join(sorted(capabilities.kinds))
        raise BadRequest(
            "engine-cannot", field="content.type", found=str(kind), allowed=f"with this engine: {allowed}"
        )
    if not request.can_be_reshared and not capabilities.limits_resharing:
        raise BadRequest(
            "engine-cannot", field="canBeReshared", found="false", allowed="true, with this engine"
        )
    if request.audience is not None and not capabilities.lists_audience:
        allowed = "a list of recipients, with this engine; neonize posts to the account's contacts"
        raise BadRequest("engine-cannot", field="audience", found=request.audience, allowed=allowed)
    if request.audience is None and not capabilities.targets_recipients:
        field = "recipients" if request.recipients_ref is None else "recipientsRef"
        raise BadRequest("engine-cannot", field=field, found="a list", allowed=TARGETING)


def check_audience(roster: Roster) -> None:
    """Raise `BadRequest` if an engine that posts to all of its audience would post to somebody who wants none."""
    suppressed = roster.skipped.reasons()["suppressed"]
    if suppressed:
        raise BadRequest(
            "audience-suppressed",
            field="audience",
            found=f"{suppressed} in it who are never to be sent to",
            allowed="an audience without them: exclude them under status privacy on the phone, "
            "or let the engine target recipients",
        )
