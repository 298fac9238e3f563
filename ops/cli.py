"""The command line. Each command only reads its options; the work is in the module named after it."""

from __future__ import annotations

import os
from functools import partial
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Annotated
from uuid import uuid4

import msgspec
from cyclopts import App, CycloptsError, Parameter
from cyclopts.validators import Number
from msgspec import structs

from ops import schema as schemas
from ops.bench.cli import app as bench
from ops.control import order, stories, workers
from ops.demo import Demo, demo
from ops.doctor import doctor
from ops.engine import Kind, engine
from ops.exits import SUCCESS, USAGE, fail, run
from ops.pair import pair
from ops.parameters import Json
from ops.recipients import read_recipients
from ops.send import send
from ops.serve import sayer, up, worker
from ops.settings import print_settings
from ops.stories import content_from, request_from
from ops.watch import watch
from pipeline.resolution import load_settings
from pipeline.settings import Settings
from stages.errors import StorycastError
from stages.messages import Level
from stages.options import Strategy

HELP = """Posts one WhatsApp story to long recipient lists: anchored, paced, in batches whose size it learns.

Exit codes: 0 success, 1 a story failed, 2 usage or bad input, 3 NATS out of reach, 130 interrupted."""

app = App(name="storycast", help=HELP, version=version("storycast"), result_action="return_value")

Url = Annotated[str | None, Parameter(name="--url", help="The NATS server; instead of STORYCAST_URL.")]
Config = Annotated[
    Path | None, Parameter(name="--config", help="Settings file; instead of ./storycast.toml.")
]


Port = Annotated[
    int,
    Parameter(
        validator=Number(gte=0, lte=65_535), help="The server's port on 127.0.0.1; 0 for any free one."
    ),
]
Grace = Annotated[
    float | None,
    Parameter(
        name="--grace", help="Seconds that calls under way get at the end; instead of STORYCAST_GRACE."
    ),
]
Owner = Annotated[str, Parameter(help="The story's session.")]
StoryName = Annotated[str, Parameter(help="The story's id.")]
Session = Annotated[str, Parameter(name="--session", help="The session (linked account) that sends.")]


@app.meta.default
def launch(*tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)]) -> int:
    """Run a command; usage errors exit with 2."""
    try:
        code = app(tokens, exit_on_error=False, print_error=True)
    except CycloptsError:
        return USAGE
    except StorycastError as error:
        return fail(str(error))
    return code if isinstance(code, int) else SUCCESS


@app.command(name="demo")
def demo_command(
    *,
    recipients: Annotated[int, Parameter(help="How many recipients each story has.")] = 5_000,
    profile: Annotated[
        str, Parameter(help="How the simulated WhatsApp behaves: a shipped profile, or a TOML file.")
    ] = "story-timings",
    strategy: Annotated[Strategy, Parameter(help="The policy that chooses batch sizes.")] = "progressive",
    fast: Annotated[
        bool, Parameter(negative="", help="The simulated engine's time runs 20 times faster.")
    ] = False,
    json: Json = False,
) -> int:
    """Send two stories to simulated recipients, on a server and a worker of its own."""
    wanted = Demo(recipients=recipients, profile=profile, strategy=strategy, fast=fast, json=json)
    return run(partial(demo, wanted))


@app.command(name="up")
def up_command(
    *,
    data: Annotated[Path | None, Parameter(help="Where the server keeps its data.")] = None,
    port: Annotated[
        int,
        Parameter(
            validator=Number(gte=0, lte=65_535), help="The server's port on 127.0.0.1; 0 for any free one."
        ),
    ] = 4222,
    grace: Grace = None,
    config: Config = None,
    json: Json = False,
) -> int:
    """Run a nats-server and a worker; data is kept in a folder."""
    settings = _settings(config, None, grace)
    folder = data or Path(settings.storycast.data)
    return run(partial(up, settings, sayer(json=json), data=folder, port=port))


@app.command(name="worker")
def worker_command(*, url: Url = None, grace: Grace = None, config: Config = None, json: Json = False) -> int:
    """Run a worker on a server that is there; any number of them share the sessions among themselves."""
    return run(partial(worker, _settings(config, url, grace), sayer(json=json)))


@app.command(name="engine")
def engine_command(
    kind: Annotated[Kind, Parameter(help="Which engine.")],
    *,
    session: Session = "main",
    url: Url = None,
    grace: Grace = None,
    config: Config = None,
    json: Json = False,
) -> int:
    """Serve the engine of one session on NATS, for workers that look for it there."""
    return run(partial(engine, _settings(config, url, grace), sayer(json=json), kind=kind, session=session))


@app.command(name="send")
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
    settings = _settings(config, url)
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


@app.command(name="watch")
def watch_command(
    session: Annotated[str | None, Parameter(help="Only this session.")] = None,
    *,
    url: Url = None,
    config: Config = None,
    json: Json = False,
) -> int:
    """Show what happens, as it happens."""
    return run(partial(watch, _settings(config, url).storycast.url, session, json=json))


@app.command(name="pause")
def pause_command(
    session: Owner, story: StoryName, *, url: Url = None, config: Config = None, json: Json = False
) -> int:
    """Let the call under way end, and leave the story there until it is resumed. Survives restarts."""
    return run(partial(order, _settings(config, url).storycast.url, "pause", session, story, json=json))


@app.command(name="resume")
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
    return run(partial(order, _settings(config, url).storycast.url, "resume", session, story, json=json))


@app.command(name="cancel")
def cancel_command(
    session: Owner, story: StoryName, *, url: Url = None, config: Config = None, json: Json = False
) -> int:
    """End the story before its next call; its report says what was sent and what was not."""
    return run(partial(order, _settings(config, url).storycast.url, "cancel", session, story, json=json))


@app.command(name="status")
def status_command(
    session: Owner, story: StoryName, *, url: Url = None, config: Config = None, json: Json = False
) -> int:
    """Say where a story is."""
    return run(partial(order, _settings(config, url).storycast.url, "status", session, story, json=json))


@app.command(name="list")
def list_command(*, url: Url = None, config: Config = None, json: Json = False) -> int:
    """List the stories that workers have in hand, and the paused ones."""
    return run(partial(stories, _settings(config, url).storycast.url, json=json))


@app.command(name="workers")
def workers_command(*, url: Url = None, config: Config = None, json: Json = False) -> int:
    """List the workers, and which sessions each of them owns."""
    return run(partial(workers, _settings(config, url).storycast.url, json=json))


@app.command(name="settings")
def settings_command(
    *,
    session: Annotated[str | None, Parameter(help="As this session has them.")] = None,
    config: Config = None,
    json: Json = False,
) -> int:
    """Show every setting, its value, and where it came from."""
    return print_settings(load_settings(os.environ, config), os.environ, session=session, json=json)


@app.command(name="schema")
def schema_command(
    format: Annotated[schemas.Format, Parameter(help="Which document.")] = "json-schema",
    *,
    json: Json = False,
) -> int:
    """Print the messages as JSON Schema, or subjects and messages as AsyncAPI 3. Both are JSON."""
    document = schemas.asyncapi() if format == "asyncapi" else schemas.json_schema()
    print(msgspec.json.format(msgspec.json.encode(document)).decode())
    return SUCCESS


@app.command(name="doctor")
def doctor_command(
    *,
    session: Annotated[str | None, Parameter(help="Look at this session's engine.")] = None,
    url: Url = None,
    config: Config = None,
    json: Json = False,
) -> int:
    """Look at server, streams, sessions and engines, and say how to mend what is wrong."""
    return run(partial(doctor, _settings(config, url), os.environ, session, json=json))


@app.command(name="pair")
def pair_command(
    *,
    session: Annotated[str, Parameter(help="The session to link.")] = "main",
    phone: Annotated[
        str | None,
        Parameter(help="Type a code in on the phone with this number (+62...), instead of scanning one."),
    ] = None,
    timeout: Annotated[
        float, Parameter(validator=Number(gte=5, lte=150), help="Seconds that there are for it.")
    ] = 120.0,
    data: Annotated[
        Path | None, Parameter(help="The folder of the linked sessions; instead of the setting.")
    ] = None,
    url: Url = None,
    config: Config = None,
) -> int:
    """Link a session to a WhatsApp account, for the neonize engine."""
    settings = _settings(config, url)
    options = settings.of_session(session).neonize
    if data is not None:
        options = structs.replace(options, data=str(data))
    return run(partial(pair, options, settings.storycast.url, session, phone=phone, timeout=timeout))


app.command(bench)


def _settings(config: Path | None, url: str | None, grace: float | None = None) -> Settings:
    given = {"STORYCAST_URL": url, "STORYCAST_GRACE": None if grace is None else f"{grace:g}"}
    return load_settings({**os.environ, **{name: value for name, value in given.items() if value}}, config)
