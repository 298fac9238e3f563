"""What `nats micro list|info|stats` ask of a service, answered for an engine: NATS' service protocol, version 1.

The shapes of the answers are nats-py's. Its `Service` is not used: it takes one request at a time, or else counts the
handing over of a request as all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from typing import Any

import msgspec
from msgspec import Struct
from nats.micro.service import (
    DEFAULT_QUEUE_GROUP,
    EndpointInfo,
    EndpointStats,
    ServiceInfo,
    ServicePing,
    ServiceStats,
    ServiceVerb,
    control_subject,
)

SERVICE = "storycast-engine"
QUEUE = DEFAULT_QUEUE_GROUP
"""The queue group of all endpoints: should two services ever serve one session, each call goes to one of them."""
DESCRIPTION = "Posts WhatsApp stories for one session."


class Identity(Struct, frozen=True, kw_only=True):
    """Which service this is. `id` is a new one at each start."""

    id: str
    metadata: dict[str, str]
    started: datetime


@dataclass
class Endpoint:
    """One subject of the service, and what it has been asked so far."""

    name: str
    subject: str
    requests: int = 0
    errors: int = 0
    seconds: float = 0.0
    last_error: str = ""

    def count(self, seconds: float, error: str) -> None:
        """A request was answered after `seconds`, with `error` unless that is empty."""
        self.requests += 1
        self.seconds += seconds
        if error:
            self.errors += 1
            self.last_error = error

    def info(self) -> EndpointInfo:
        """What it is."""
        return EndpointInfo(name=self.name, subject=self.subject, queue_group=QUEUE)

    def stats(self) -> EndpointStats:
        """What it has been asked."""
        nanoseconds = int(self.seconds * 1e9)
        return EndpointStats(
            name=self.name,
            subject=self.subject,
            queue_group=QUEUE,
            num_requests=self.requests,
            num_errors=self.errors,
            processing_time=nanoseconds,
            average_processing_time=nanoseconds // max(self.requests, 1),
            last_error=self.last_error,
        )


def subjects(identity: Identity) -> list[str]:
    """Where this service is asked for, alone or among others."""
    return [
        control_subject(verb, name=name, id=its_id)
        for verb in ServiceVerb
        for name, its_id in ((None, None), (SERVICE, None), (SERVICE, identity.id))
    ]


def answer(subject: str, identity: Identity, endpoints: Sequence[Endpoint]) -> bytes:
    """The answer to a question on one of the `subjects`."""
    described: dict[str, Any] = {
        "id": identity.id,
        "name": SERVICE,
        "version": version("storycast"),
        "metadata": identity.metadata,
    }
    kind: ServicePing | ServiceInfo | ServiceStats
    match subject.split(".")[1]:
        case ServiceVerb.PING.value:
            kind = ServicePing(**described)
        case ServiceVerb.INFO.value:
            infos = [endpoint.info() for endpoint in endpoints]
            kind = ServiceInfo(**described, description=DESCRIPTION, endpoints=infos)
        case _:
            stats = [endpoint.stats() for endpoint in endpoints]
            kind = ServiceStats(**described, started=identity.started, endpoints=stats)
    return msgspec.json.encode(kind.to_dict())
