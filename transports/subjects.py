"""The names on NATS: subjects, streams, consumers, buckets, headers. One place, so that one name means one thing."""

from __future__ import annotations

from stages.messages import Level

STREAM_SENDS = "STORYCAST_SENDS"
STREAM_EVENTS = "STORYCAST_EVENTS"
STREAM_REJECTED = "STORYCAST_REJECTED"
BUCKET_SESSIONS = "storycast_sessions"
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

HEADER_REPLY_TO = "Storycast-Reply-To"
"""The subject that a request's answer goes to: its report, or its rejection."""
HEADER_REJECTION = "Storycast-Rejection"
"""On a rejected request: the rejection as JSON."""
HEADER_CONTENT_TYPE = "Content-Type"
HEADER_MESSAGE_ID = "Nats-Msg-Id"
HEADER_EXPECTED_LAST = "Nats-Expected-Last-Subject-Sequence"
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


def control_subject(session: str, story: str) -> str:
    """Where the worker that has a story is asked to pause, resume or cancel it, and for its status."""
    return f"storycast.control.{session}.{story}"
