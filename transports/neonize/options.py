"""What the neonize engine can be set to."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

Targeting = Literal["audience", "contact-staging"]


class Neonize(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where sessions are kept, whom a call goes to, and how long things may take."""

    data: Annotated[
        str,
        Meta(min_length=1, description="The folder of the linked sessions; each has one of its own there."),
    ] = "storycast-sessions"
    targeting: Annotated[
        Targeting,
        Meta(
            description="`audience`: one post to the account's own audience. `contact-staging`: exact recipients, "
            "by the names in the contact list of this linked device."
        ),
    ] = "audience"
    timeout: Annotated[
        float,
        Meta(
            gt=0,
            le=3600,
            description="Seconds after which the outcome of a call is unknown; below `STORYCAST_CALL_TIMEOUT`.",
        ),
    ] = 85.0
    start_timeout: Annotated[
        float, Meta(gt=0, le=600, description="Seconds that the client gets to start and to connect.")
    ] = 30.0
    restart_delay: Annotated[
        float,
        Meta(
            gt=0,
            le=600,
            description="Seconds before a client that ended is started again; doubles each time.",
        ),
    ] = 1.0
    restart_delay_max: Annotated[
        float,
        Meta(gt=0, le=3600, description="The longest pause before a client is started again, in seconds."),
    ] = 60.0
    max_media: Annotated[
        int, Meta(ge=1, le=1024, description="The largest media file that is fetched from a `url`, in MiB.")
    ] = 64
    media_timeout: Annotated[
        float, Meta(gt=0, le=3600, description="Seconds that fetching a media file may take.")
    ] = 60.0
