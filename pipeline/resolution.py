"""Where settings come from: the environment over `storycast.toml` over the defaults, single sessions over all.

(A request may choose some sending options over these.) Every value is checked wherever it comes from, and an error
names the setting, what was found and what is allowed.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct, structs

from pipeline.settings import (
    CONFIG_FILE,
    HIDDEN,
    TABLES,
    EngineKind,
    Infrastructure,
    Session,
    Settings,
    Source,
    allowed,
    env_name,
    shown,
)
from stages.errors import StorycastError
from stages.masking import without_user
from stages.messages import SESSION_ID
from stages.options import SmartSend
from transports.neonize.options import Neonize
from transports.waha.options import Waha

_KEYS = ("api_key", "api_key_file")
"""The two ways to give one key."""
_TYPES = {
    str: "a text",
    bool: "true or false",
    int: "a number",
    float: "a number",
    list: "a list",
    Mapping: "a table",
}

Table = TypeVar("Table", bound=Struct)


class SettingsError(StorycastError):
    """A setting that cannot be used: which one, where it came from, what was found, what is allowed."""


def load_settings(environ: Mapping[str, str], config: Path | None = None) -> Settings:
    """Settings from the environment, and from `config` or else `storycast.toml` in this folder if it is there.

    Raises `SettingsError`.
    """
    chosen = config or Path(environ.get("STORYCAST_CONFIG", CONFIG_FILE))
    must_exist = config is not None or "STORYCAST_CONFIG" in environ
    return resolve(environ, _read(chosen, must_exist=must_exist), file=str(chosen))


def resolve(environ: Mapping[str, str], document: Mapping[str, Any], *, file: str = CONFIG_FILE) -> Settings:
    """Settings from the environment over a parsed `file`. Raises `SettingsError`."""
    _check_tables(document, file)
    sources: dict[str, Source] = {}
    smart_send = _table(SmartSend, "smart_send", document, environ, sources, file)
    storycast = _table(Infrastructure, "storycast", document, environ, sources, file)
    waha = _table(Waha, "waha", document, environ, sources, file)
    neonize = _table(Neonize, "neonize", document, environ, sources, file)
    settings = Settings(
        smart_send=smart_send, storycast=storycast, waha=waha, neonize=neonize, sources=sources
    )
    sessions = {
        name: _session(settings, own, f"[sessions.{name}", file)
        for name, own in document.get("sessions", {}).items()
    }
    _check_options(smart_send, lambda key: env_name("smart_send", key))
    for name, session in sessions.items():
        _check_options(session.smart_send, f"{{}} under [sessions.{name}] in {file}".format)
    return structs.replace(settings, sessions=sessions)


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Variables that look like settings but are none, so that a misspelt one does not go unnoticed."""
    known = {env_name(table, info.name) for table, kind in TABLES.items() for info in structs.fields(kind)}
    known.add("STORYCAST_CONFIG")
    return sorted(
        name for name in environ if re.match(r"(SMART_SEND|STORYCAST)_", name) and name not in known
    )


def _table(
    kind: type[Table],
    name: str,
    document: Mapping[str, Any],
    environ: Mapping[str, str],
    sources: dict[str, Source],
    file: str,
) -> Table:
    layers: dict[Source, dict[str, Any]] = {
        "storycast.toml": _checked(kind, document.get(name, {}), f"[{name}] in {file}"),
        "environment": _of_environment(kind, name, environ),
    }
    values: dict[str, Any] = {}
    for source, layer in layers.items():
        over = _over(values, layer)
        values.update(over)
        sources.update({env_name(name, key): source for key in over})
    return kind(**values)


def _of_environment(kind: type[Struct], name: str, environ: Mapping[str, str]) -> dict[str, Any]:
    names = {info.name: env_name(name, info.name) for info in structs.fields(kind)}
    types = {info.name: info.type for info in structs.fields(kind)}
    found = {key: _from_text(env, environ[env], types[key]) for key, env in names.items() if env in environ}
    _check_key(found, " and ".join(names.get(key, "") for key in _KEYS) + " in the environment")
    return found


def _over(below: Mapping[str, Any], layer: Mapping[str, Any]) -> dict[str, Any]:
    """What `layer` says over what is `below` it: giving the key in one way, it takes back the other way."""
    gives_key = any(key in layer for key in _KEYS)
    taken_back = {key: "" for key in _KEYS if gives_key and below.get(key)}
    return {**taken_back, **layer}


def _check_key(layer: Mapping[str, Any], named: str) -> None:
    if all(layer.get(key) for key in _KEYS):
        raise SettingsError(f"{named}: found both, allowed: one of them")


def _session(common: Settings, own: Any, heading: str, file: str) -> Session:
    """The settings of one session: its table over the `common` ones, its engine's tables over theirs."""
    place = f"{heading}] in {file}"
    if not isinstance(own, Mapping):
        raise SettingsError(f"{place}: found {_type(own)}, allowed: a table")
    apart = {"engine", "waha", "neonize"}
    options = {key: value for key, value in own.items() if key not in apart}
    tables = {name: own.get(name, {}) for name in ("waha", "neonize")}
    checked = {
        name: _checked(TABLES[name], table, f"{heading}.{name}] in {file}") for name, table in tables.items()
    }
    engine = own.get("engine", common.storycast.engine)
    return Session(
        smart_send=structs.replace(common.smart_send, **_checked(SmartSend, options, place)),
        engine=_converted(f"engine under {place}", engine, EngineKind),
        waha=structs.replace(common.waha, **_over(structs.asdict(common.waha), checked["waha"])),
        neonize=structs.replace(common.neonize, **checked["neonize"]),
    )


def _checked(kind: type[Struct], document: Any, place: str) -> dict[str, Any]:
    """The table's values, each converted and checked by itself, so that an error names the one it means."""
    if not isinstance(document, Mapping):
        raise SettingsError(f"{place}: found {_type(document)}, allowed: a table")
    fields = {info.name: info.type for info in structs.fields(kind)}
    if unknown := sorted(set(document) - set(fields)):
        known = ", ".join(fields)
        raise SettingsError(f"{place}: found {unknown[0]!r}, allowed: {known}")
    found = {key: _converted(f"{key} under {place}", value, fields[key]) for key, value in document.items()}
    _check_key(found, f"{' and '.join(_KEYS)} under {place}")
    return found


def _from_text(env: str, text: str, kind: Any) -> Any:
    is_list = msgspec.json.schema(kind).get("type") == "array"
    value = [item.strip() for item in text.split(",")] if is_list else text.strip()
    return _converted(f"{env} in the environment", value, kind)


def _converted(name: str, value: Any, kind: Any) -> Any:
    try:
        return msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError as error:
        found = HIDDEN if name.lower().split()[0].endswith("api_key") else _found(value)
        raise SettingsError(f"{name}: found {found}, allowed: {allowed(kind)}") from error


def _found(value: Any) -> str:
    """A value as an error shows it: even a wrong one may hold a password."""
    if isinstance(value, str):
        return repr(without_user(value))
    return _type(value) if isinstance(value, Mapping) else without_user(repr(value))


def _type(value: Any) -> str:
    return next((words for kind, words in _TYPES.items() if isinstance(value, kind)), "a date or a time")


def _check_options(options: SmartSend, named: Callable[[str], str]) -> None:
    """Check how settings go together; `named` says where a key stands."""
    if options.fast_threshold_ms > options.slow_threshold_ms:
        raise SettingsError(
            f"{named('fast_threshold_ms')}: found {options.fast_threshold_ms}, "
            f"allowed: at most the slow threshold, {options.slow_threshold_ms}"
        )
    ladder = options.progressive_sequence
    if list(ladder) != sorted(set(ladder)):
        raise SettingsError(
            f"{named('progressive_sequence')}: found {shown(ladder)}, allowed: sizes that rise, comma-separated"
        )


def _check_tables(document: Mapping[str, Any], file: str) -> None:
    known = {*TABLES, "sessions"}
    if unknown := sorted(set(document) - known):
        raise SettingsError(f"{file}: found [{unknown[0]}], allowed: [{'], ['.join(sorted(known))}]")
    sessions = document.get("sessions", {})
    if not isinstance(sessions, Mapping):
        raise SettingsError(
            f"sessions in {file}: found {_type(sessions)}, allowed: tables such as [sessions.main]"
        )
    for name in sessions:
        if not SESSION_ID.fullmatch(name):
            raise SettingsError(f"[sessions.{name!r}] in {file}: allowed: 1-64 letters, digits, `_` or `-`")


def _read(path: Path, *, must_exist: bool) -> Mapping[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError:
        if must_exist:
            raise SettingsError(f"{path}: there is no such file") from None
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path}: {error}") from error
