"""The commands about stories: send, watch, pause, resume, cancel, status, list, workers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Annotated
from uuid import uuid4

from cyclopts import App, Parameter

from ops.control import order, stories, workers
from ops.exits import run
from ops.parameters import Config, Json, Owner, Session, StoryName, Url, settings_for
from ops.recipients import read_recipients
from ops.send import send
from ops.stories import content_from, request_from
from ops.watch import watch
from stages.messages import Level
from stages.options import Strategy


def register_stories(app: App) -> None:
    """Add these commands to `app`."""
    commands: dict[str, Callable[..., int]] = {
        "send": send_command,
        "watch": watch_command,
        "pause": pause_command,
        "resume": resume_command,
        "cancel": cancel_command,
        "status": status_command,
        "list": list_command,
        "workers": workers_command,
    }
    for name, command in commands.items():
        app.command(command, name=name)


def send_command(
    *recipients: Annotated[str, Parameter(help="Recipients: phone numbers or JIDs.")],
    recipients_from: Annotated[
        Path | None,
        Parameter(
            name="--recipients",
            allow_leading_hyphen=True,
            help="A file of recipients, one a line; - for stdin.",
        ),
    ] = None,
    session: Session = "main",
    story: Annotated[
        str | None, Parameter(help="The story's id; the same id is never posted twice. Default: a new one.")
    ] = None,
    text: Annotated[str | None, Parameter(help="A text story.")] = None,
    image: Annotated[str | None, Parameter(help="A picture: a file, or an http(s) address.")] = None,
    video: Annotated[str | None, Parameter(help="A video: a file, or an http(s) address.")] = None,
    voice: Annotated[str | None, Parameter(help="A voice note: a file, or an http(s) address.")] = None,
    caption: Annotated[str | None, Parameter(help="The caption of a picture or a video.")] = None,
    strategy: Annotated[Strategy | None, Parameter(help="The policy that chooses batch sizes.")] = None,
    batch_size: Annotated[int | None, Parameter(help="`fixed`: every batch; otherwise the largest.")] = None,
    delay_ms: Annotated[int | None, Parameter(help="Pause between two batches, in ms.")] = None,
    priority: Annotated[int, Parameter(help="0 (last) to 9 (first).")] = 5,
    level: Annotated[Level, Parameter(help="The lane that the request waits in.")] = "normal",
    dry_run: Annotated[bool, Parameter(negative="", help="Check and report, but send nothing.")] = False,
    wait: Annotated[bool, Parameter(negative="", help="Show progress, and the report.")] = False,
    timeout: Annotated[float, Parameter(help="With --wait: seconds to wait for the report.")] = 3_600.0,
    url: Url = None,
    config: Config = None,
    json: Json = False,
) -> int:
    """Publish a send request; with --wait, follow it to its report."""
    settings = settings_for(config, url)
    chosen = {"strategy": strategy, "batchSize": batch_size, "delayMs": delay_ms}
    listed = read_recipients(recipients, recipients_from)
    first = next(listed)  # there is one, and the request is checked with it
    request = request_from(
        {
            "storyId": story or f"story-{uuid4().hex[:16]}",
            "sessionId": session,
            "content": content_from(text, {"image": image, "video": video, "voice": voice}, caption=caption),
            "recipients": [first],
            "priority": priority,
            "dryRun": dry_run,
            "smartSendConfig": {name: value for name, value in chosen.items() if value is not None},
        }
    )
    return run(
        partial(
            send,
            settings.storycast.url,
            request,
            chain([first], listed),
            level=level,
            wait=wait,
            timeout=timeout,
            json=json,
        )
    )


def watch_command(
    session: Annotated[str | None, Parameter(help="Only this session.")] = None,
    *,
    url: Url = None,
    config: Config = None,
    json: Json = False,
) -> int:
    """Show what happens, as it happens."""
    return run(partial(watch, settings_for(config, url).storycast.url, session, json=json))


def pause_command(
    session: Owner, story: StoryName, *, url: Url = None, config: Config = None, json: Json = False
) -> int:
    """Let the call under way end, and leave the story there until it is resumed. Survives restarts."""
    return run(partial(order, settings_for(config, url).storycast.url, "pause", session, story, json=json))


def resume_command(
    session: Owner,
    story: Annotated[
        str | None, Parameter(help="The story; without it, a session that was stopped until somebody acted.")
    ] = None,
    *,
    url: Url = None,
    config: Config = None,
    json: Json = False,
) -> int:
    """Go on with a paused story, or serve a stopped session again."""
    return run(partial(order, settings_for(config, url).storycast.url, "resume", session, story, json=json))


def cancel_command(
    session: Owner, story: StoryName, *, url: Url = None, config: Config = None, json: Json = False
) -> int:
    """End the story before its next call; its report says what was sent and what was not."""
    return run(partial(order, settings_for(config, url).storycast.url, "cancel", session, story, json=json))


def status_command(
    session: Owner, story: StoryName, *, url: Url = None, config: Config = None, json: Json = False
) -> int:
    """Say where a story is."""
    return run(partial(order, settings_for(config, url).storycast.url, "status", session, story, json=json))


def list_command(*, url: Url = None, config: Config = None, json: Json = False) -> int:
    """List the stories that workers have in hand, and the paused ones."""
    return run(partial(stories, settings_for(config, url).storycast.url, json=json))


def workers_command(*, url: Url = None, config: Config = None, json: Json = False) -> int:
    """List the workers, and which sessions each of them owns."""
    return run(partial(workers, settings_for(config, url).storycast.url, json=json))
