"""The settings of a worker: the one declaration of names, types, bounds, defaults and descriptions.

`pipeline.resolution` reads them from where they come from; the reference page is made from them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct, structs

from stages.course import MAX_STARTS
from stages.delivery import Limits
from stages.masking import without_user
from stages.options import SmartSend
from transports.neonize.options import Neonize
from transports.waha.options import Waha

CONFIG_FILE = "storycast.toml"

Source = Literal["default", "storycast.toml", "environment", "session"]
EngineKind = Literal["simulated", "waha", "neonize", "remote"]
SECRETS = frozenset({"STORYCAST_WAHA_API_KEY"})
"""Settings whose values are never shown."""
ADDRESSES = frozenset({"STORYCAST_URL", "STORYCAST_WAHA_URL"})
"""Settings whose values may hold a user and a password, which are never shown."""
HIDDEN = "(hidden)"


_URL = r"(nats|tls|ws|wss)://([^\s@/,]+@)?[^\s@/:,]+(:[0-9]{1,5})?/?"


class Infrastructure(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a worker runs on and with: the `STORYCAST_*` settings."""

    url: Annotated[
        str,
        Meta(
            pattern=f"^{_URL}(,{_URL})*$",
            examples=["nats://host:port"],
            description="The NATS server; several of one cluster with commas between.",
        ),
    ] = "nats://127.0.0.1:4222"
    replicas: Annotated[int, Meta(ge=1, le=5, description="JetStream copies: 3 on a cluster of three.")] = 1
    engine: Annotated[
        EngineKind,
        Meta(description="What talks to WhatsApp; `remote`: whoever serves the session's engine on NATS."),
    ] = "simulated"
    profile: Annotated[
        str, Meta(min_length=1, description="`simulated`: a shipped profile or a TOML file.")
    ] = "calm"
    speed: Annotated[
        float, Meta(gt=0, le=1000, description="`simulated`: how many times faster its time runs.")
    ] = 1.0
    record: Annotated[
        str,
        Meta(description="`simulated`: a file that every call is written to, as JSON lines; empty for none."),
    ] = ""
    data: Annotated[
        str, Meta(min_length=1, description="`storycast up`: the folder its server keeps data in.")
    ] = "storycast-data"
    call_timeout: Annotated[
        float, Meta(gt=0, le=3600, description="Seconds after which an engine call's outcome is unknown.")
    ] = 90.0
    patience: Annotated[
        float,
        Meta(
            ge=0,
            le=86_400,
            description="Seconds without any call going through after which a session is stopped.",
        ),
    ] = 900.0
    unsure_pause: Annotated[
        float, Meta(ge=0, le=600, description="Seconds of pause after a call whose outcome is unknown.")
    ] = 1.0
    suppression_file: Annotated[
        str, Meta(description="A file of recipients never to be sent to, one a line; empty for none.")
    ] = ""
    grace: Annotated[
        float, Meta(ge=0, le=3600, description="Seconds that calls in flight get to end at shutdown.")
    ] = 10.0
    max_starts: Annotated[
        int,
        Meta(ge=1, le=1_000, description="Starts after which a story that never gets further is given up."),
    ] = MAX_STARTS
    max_held: Annotated[
        int,
        Meta(ge=8, le=1_000_000, description="Unfinished requests one worker holds before it pulls no more."),
    ] = 8_192
    max_sessions: Annotated[
        int, Meta(ge=1, le=100_000, description="Sessions one worker serves at the same time.")
    ] = 1_000


class Setting(Struct, frozen=True, kw_only=True):
    """One setting: its names, what it is for, what is allowed, its value and where that came from."""

    env: str
    key: str
    value: Any
    default: Any
    allowed: str
    description: str
    source: Source = "default"


class Session(Struct, frozen=True, kw_only=True):
    """What one session has of its own: how it sends, and by which engine."""

    smart_send: SmartSend
    engine: EngineKind
    waha: Waha
    neonize: Neonize


class Settings(Struct, frozen=True, kw_only=True):
    """All settings of a worker. `sessions` holds those that have settings of their own."""

    smart_send: SmartSend = SmartSend()
    storycast: Infrastructure = Infrastructure()
    waha: Waha = Waha()
    neonize: Neonize = Neonize()
    sessions: Mapping[str, Session] = {}
    sources: Mapping[str, Source] = {}

    def of_session(self, session: str) -> Session:
        """The settings of `session`, before a request has chosen."""
        common = Session(
            smart_send=self.smart_send,
            engine=self.storycast.engine,
            waha=self.waha,
            neonize=self.neonize,
        )
        return self.sessions.get(session, common)

    def seen_by(self, session: str) -> Settings:
        """The settings as they are for `session`, and so said of those that are its own."""
        its = self.of_session(session)
        seen = structs.replace(
            self,
            smart_send=its.smart_send,
            storycast=structs.replace(self.storycast, engine=its.engine),
            waha=its.waha,
            neonize=its.neonize,
        )
        own = dict.fromkeys(_different(self, seen), "session")
        return structs.replace(seen, sources={**self.sources, **own})

    def limits(self) -> Limits:
        """The deadlines of engine calls."""
        own = self.storycast
        return Limits(call=own.call_timeout, patience=own.patience, unsure_pause=own.unsure_pause)

    def listed(self) -> Sequence[Setting]:
        """Every setting with its value and where it came from, in the order of the declaration."""
        return [
            _listed(table, info, getattr(getattr(self, table), info.name), self.sources)
            for table, kind in TABLES.items()
            for info in structs.fields(kind)
        ]


TABLES: Mapping[str, type[Struct]] = {
    "smart_send": SmartSend,
    "storycast": Infrastructure,
    "waha": Waha,
    "neonize": Neonize,
}
"""The tables of `storycast.toml`."""
_PREFIXES = {"waha": "storycast_waha", "neonize": "storycast_neonize"}


def allowed(kind: Any) -> str:
    """What a setting of this type may be, in words."""
    schema = msgspec.json.schema(kind)
    return ", ".join(_allowed(schema.get("$defs", {}).get("", schema)))


def _listed(table: str, info: structs.FieldInfo, value: Any, sources: Mapping[str, Source]) -> Setting:
    env = env_name(table, info.name)
    return Setting(
        env=env,
        key=f"{table}.{info.name}",
        value=_safe(env, shown(value)),
        default=shown(info.default),
        allowed=allowed(info.type),
        description=_description(info.type),
        source=sources.get(env, "default"),
    )


def _safe(env: str, value: str) -> str:
    if env in ADDRESSES:
        return without_user(value)
    return HIDDEN if value and env in SECRETS else value


def env_name(table: str, name: str) -> str:
    """The environment variable of a setting."""
    return f"{_PREFIXES.get(table, table)}_{name}".upper()


def _different(one: Settings, other: Settings) -> Iterator[str]:
    for table, kind in TABLES.items():
        for info in structs.fields(kind):
            if getattr(getattr(one, table), info.name) != getattr(getattr(other, table), info.name):
                yield env_name(table, info.name)


def shown(value: Any) -> str:
    """A value as one writes it in the environment."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _description(kind: Any) -> str:
    metas = [meta for meta in getattr(kind, "__metadata__", ()) if isinstance(meta, Meta)]
    return next((meta.description for meta in reversed(metas) if meta.description), "")


def _allowed(schema: Mapping[str, Any]) -> Iterator[str]:
    if "enum" in schema:
        yield " | ".join(map(str, schema["enum"]))
        return
    if schema.get("type") == "array":
        yield "comma-separated: " + ", ".join(_allowed(schema["items"]))
        return
    yield {"boolean": "true or false", "integer": "a whole number", "number": "a number", "string": "text"}[
        schema["type"]
    ]
    signs = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    yield from (f"{sign} {schema[bound]:,}" for bound, sign in signs.items() if bound in schema)
    yield from (f"like {example}" for example in schema.get("examples", ()))
