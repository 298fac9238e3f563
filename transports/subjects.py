"""The names on NATS: subjects, streams, consumers, buckets, headers. One place, so that one name means one thing."""

from __future__ import annotations

import re

from stages.messages import Level

STREAM_SENDS = "STORYCAST_SENDS"
STREAM_EVENTS = "STORYCAST_EVENTS"
STREAM_REJECTED = "STORYCAST_REJECTED"
BUCKET_SESSIONS = "storycast_sessions"
BUCKET_JOBS = "storycast_jobs"
BUCKET_LEASES = "storycast_leases"
BUCKET_RECIPIENTS = "storycast_recipients"

SENDS: dict[Level, str] = {
    "high": "storycast.send.*.high",
    "normal": "storycast.send.*",
    "bulk": "storycast.send.*.bulk",
}
CONSUMERS: dict[Level, str] = {level: f"storycast-{level}" for level in SENDS}
PROGRESS = "storycast.progress.>"
REPORTS = "storycast.report.>"
REJECTED = "storycast.rejected.>"
SCALING = "storycast.scaling.>"
ALERTS = "storycast.alerts.>"
CONTROL = "storycast.control.>"
BEACON = "storycast.workers.alive"
ROLL_CALL = "storycast.workers.roll-call"

HEADER_REPLY_TO = "Storycast-Reply-To"
"""The subject that a request's answer goes to: its report, or its rejection."""
HEADER_REJECTION = "Storycast-Rejection"
"""On a rejected request: the rejection as JSON."""
HEADER_CONTENT_TYPE = "Content-Type"
HEADER_MESSAGE_ID = "Nats-Msg-Id"
HEADER_EXPECTED_LAST = "Nats-Expected-Last-Subject-Sequence"
HEADER_TTL = "Nats-TTL"
HEADER_KV_OPERATION = "KV-Operation"
HEADER_WRITER = "Storycast-Writer"
"""On a checkpoint: which run of which worker wrote it."""


_FOR_ANSWERS = re.compile(r"(?!\$|storycast\.)(?=.{1,255}$)[^\s.*>]+(\.[^\s.*>]+)*")


def bucket_stream(bucket: str) -> str:
    """The stream behind a key-value bucket."""
    return f"KV_{bucket}"


def key_subject(bucket: str, key: str) -> str:
    """Where the values of a key are stored."""
    return f"$KV.{bucket}.{key}"


HEADER_ROLLUP = "Nats-Rollup"


def send_subject(session: str, level: Level = "normal") -> str:
    """Where a request for `session` is published."""
    return f"storycast.send.{session}" if level == "normal" else f"storycast.send.{session}.{level}"


def session_in(subject: str) -> str:
    """The session token of a send subject."""
    return subject.split(".")[2]


def progress_subject(session: str, story: str) -> str:
    """Where the progress events of a story go."""
    return f"storycast.progress.{session}.{story}"


def report_subject(session: str, story: str) -> str:
    """Where the report of a story goes."""
    return f"storycast.report.{session}.{story}"


def dry_run_subject(session: str, story: str) -> str:
    """Where the report of a dry run goes: not where the story's own report will."""
    return f"storycast.report.{session}.{story}.dry-run"


def rejected_subject(session: str) -> str:
    """Where refused requests for `session` go."""
    return f"storycast.rejected.{session}"


def scaling_subject(session: str) -> str:
    """Where the scaling decisions for `session` go."""
    return f"storycast.scaling.{session}"


def alert_subject(session: str) -> str:
    """Where alerts about `session` go."""
    return f"storycast.alerts.{session}"


def control_subject(session: str, story: str | None = None) -> str:
    """Where orders for a story go, or for its session as a whole."""
    return f"storycast.control.{session}" if story is None else f"storycast.control.{session}.{story}"


def is_for_answers(subject: str) -> bool:
    """Whether an answer may go there: it must be no command to the server, no request to us, and no wildcard.

    A subject that is too long for the protocol would cost the connection.
    """
    return _FOR_ANSWERS.fullmatch(subject) is not None


def control_of(worker: str, subject: str) -> str:
    """Where an order that came in on `subject` is passed on to `worker`."""
    return subject.replace("storycast.control.", f"storycast.worker.{worker}.control.", 1)


def controls_to(worker: str) -> str:
    """What `worker` subscribes to for orders that are passed on to it."""
    return f"storycast.worker.{worker}.control.>"


def ordered_in(subject: str) -> tuple[str, str | None]:
    """Session and story of a control subject, passed on or not. What is too much there makes it no story's name."""
    tokens = subject.split(".")
    first = tokens.index("control") + 1
    return tokens[first], ".".join(tokens[first + 1 :]) or None


def forward_subject(worker: str, subject: str) -> str:
    """Where a request that came in on `subject` is passed on to `worker`."""
    return subject.replace("storycast.send.", f"storycast.worker.{worker}.send.", 1)


def forwards_to(worker: str) -> str:
    """What `worker` subscribes to for requests that are passed on to it."""
    return f"storycast.worker.{worker}.send.>"


def delivered_subject(forwarded: str) -> str:
    """The send subject of a request that was passed on."""
    return "storycast.send." + forwarded.split(".send.", 1)[1]


def level_in(subject: str) -> Level:
    """The lane of a send subject."""
    last = subject.split(".")[3:]
    return "high" if last == ["high"] else "bulk" if last == ["bulk"] else "normal"


def engine_send_subject(session: str) -> str:
    """Where calls go to the engine of `session`, wherever it is served."""
    return f"storycast.engine.{session}.send"


def engine_status_subject(session: str) -> str:
    """Where the engine of `session` is asked how it is, and what it can do."""
    return f"storycast.engine.{session}.status"


def engine_claim_subject(session: str) -> str:
    """Where services of the engine of `session` that start at the same moment hear of each other."""
    return f"storycast.engine.{session}.claim"


def engine_audience_subject(session: str) -> str:
    """Where the engine of `session` is asked whom a post without chosen recipients goes to."""
    return f"storycast.engine.{session}.audience"
