"""The command line. Each command only reads its options; the work is in the module named after it."""

from __future__ import annotations

import os
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import App, CycloptsError, Parameter
from cyclopts.validators import Number
from msgspec import structs

from ops import schema as schemas
from ops.bench.cli import app as bench
from ops.cli_stories import register_stories
from ops.demo import Demo, demo
from ops.doctor import doctor
from ops.engine import Kind, engine
from ops.exits import SUCCESS, USAGE, fail, run
from ops.pair import pair
from ops.parameters import Config, Grace, Json, Session, Url, settings_for
from ops.serve import sayer, up, worker
from ops.settings import print_settings
from ops.simulate import MOST as MOST_SIMULATED
from ops.simulate import STRATEGIES, Asked, simulate
from pipeline.resolution import load_settings
from stages.errors import StorycastError
from stages.options import Strategy

HELP = """Posts one WhatsApp story to long recipient lists: anchored, paced, in batches whose size it learns.

Exit codes: 0 success, 1 a story failed, 2 usage or bad input, 3 NATS out of reach, 130 interrupted."""

app = App(name="storycast", help=HELP, version=version("storycast"), result_action="return_value")


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


@app.command(name="simulate")
def simulate_command(
    *,
    profile: Annotated[
        str, Parameter(help="How the simulated WhatsApp behaves: a shipped profile, or a TOML file.")
    ] = "story-timings",
    recipients: Annotated[
        int, Parameter(help=f"How many recipients each story has, up to {MOST_SIMULATED:,}.")
    ] = 5_000,
    strategy: Annotated[
        list[Strategy] | None,
        Parameter(
            negative="", help="A policy that chooses batch sizes; may be given several times. All without it."
        ),
    ] = None,
    stories: Annotated[
        int, Parameter(help="How many stories of one session, one after the other; what is learned stays.")
    ] = 2,
    seed: Annotated[int | None, Parameter(help="Another seed than the profile's.")] = None,
    config: Config = None,
    json: Json = False,
) -> int:
    """Show what a story would take under several strategies, with your settings: no server, no waiting."""
    asked = Asked(
        profile=profile,
        recipients=recipients,
        strategies=strategy or STRATEGIES,
        stories=stories,
        seed=seed,
        json=json,
    )
    return run(partial(simulate, asked, settings_for(config, None).smart_send))


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
    settings = settings_for(config, None, grace)
    folder = data or Path(settings.storycast.data)
    return run(partial(up, settings, sayer(json=json), data=folder, port=port))


@app.command(name="worker")
def worker_command(*, url: Url = None, grace: Grace = None, config: Config = None, json: Json = False) -> int:
    """Run a worker on a server that is there; any number of them share the sessions among themselves."""
    return run(partial(worker, settings_for(config, url, grace), sayer(json=json)))


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
    return run(
        partial(engine, settings_for(config, url, grace), sayer(json=json), kind=kind, session=session)
    )


register_stories(app)


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
    return run(partial(doctor, settings_for(config, url), os.environ, session, json=json))


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
    settings = settings_for(config, url)
    options = settings.of_session(session).neonize
    if data is not None:
        options = structs.replace(options, data=str(data))
    return run(partial(pair, options, settings.storycast.url, session, phone=phone, timeout=timeout))


app.command(bench)
