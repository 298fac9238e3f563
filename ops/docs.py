"""The generated parts of the documentation: `make docs` writes them, and a test holds them to the code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from ops.bench import explained, page
from ops.bench.output import read
from ops.bench.policies.aloud import aloud
from ops.bench.scale_figures import Scale
from ops.bench.whatsapp_figures import Whatsapp
from ops.schema import asyncapi, json_schema
from pipeline.settings import Setting, Settings

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
BEGIN = "<!-- settings: made by `make docs` -->"
END = "<!-- end of settings -->"
EXPLANATION = ROOT / "docs" / "explanation.md"
BENCHMARKS = ROOT / "docs" / "benchmarks.md"
ADAPTIVE = ROOT / "docs" / "adaptive.md"
RELIABILITY = ROOT / "docs" / "reliability.md"
BENCH = ROOT / "bench"
"""Where `make bench` and `make bench-whatsapp` leave what they measured."""
MEASURED = BENCH / "whatsapp.json"

_SETTINGS_PAGE = """# Settings

Made by `make docs` from the one declaration in `stages/options.py` and `pipeline/settings.py`.

A value is taken from the first of these that has it: the request (for the few options a request may choose), the
session's table `[sessions.<id>]` in `storycast.toml`, the environment, `[smart_send]` or `[storycast]` in
`storycast.toml`, the default. `storycast settings` shows each value and where it came from. `STORYCAST_CONFIG` names
another file than `./storycast.toml`.

`api_key` and `api_key_file` are two ways to give one key: whoever says one of them takes back the other one of those
after it, and both in one place are refused.

"""


def generated() -> dict[Path, str]:
    """Every generated file with the text it should have."""
    return {
        ROOT / "docs" / "settings.md": _SETTINGS_PAGE + settings_table(keys=True) + "\n",
        ROOT / "docs" / "schema.json": _json(json_schema()),
        ROOT / "docs" / "asyncapi.json": _json(asyncapi()),
        README: with_parts(
            with_settings(README.read_text()), {"goals": page.goals_part(BENCH)}, "make bench"
        ),
        EXPLANATION: with_parts(
            EXPLANATION.read_text(), explained.parts(read(MEASURED, Whatsapp)), "make bench-whatsapp"
        ),
        BENCHMARKS: with_parts(BENCHMARKS.read_text(), page.parts(BENCH), "make bench"),
        ADAPTIVE: with_parts(ADAPTIVE.read_text(), {"aloud": aloud()}, "make docs"),
        RELIABILITY: with_parts(
            RELIABILITY.read_text(),
            {"scale": page.scale_table(read(BENCH / "scale.json", Scale))},
            "make bench",
        ),
    }


def settings_table(*, keys: bool) -> str:
    """The settings as a Markdown table; with `keys` also their names in `storycast.toml`, and what is allowed."""
    heads = ["environment", "storycast.toml", "default", "allowed", "what it is"]
    rows = [_cells(setting) for setting in Settings().listed()]
    if not keys:
        heads, rows = [heads[0], heads[2], heads[4]], [[row[0], row[2], row[4]] for row in rows]
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def with_settings(readme: str) -> str:
    """`readme` with the settings table between its marks."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{settings_table(keys=False)}\n{END}{after}"


def with_parts(text: str, parts: Mapping[str, str], command: str) -> str:
    """A page with each part that is made of what `command` measured between its marks."""
    for name, part in parts.items():
        begin, end = f"<!-- {name}: made by `{command}` -->", f"<!-- end of {name} -->"
        if begin not in text or end not in text:
            raise LookupError(f"a page lacks the marks {begin} and {end}")
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}\n{part}\n{end}{rest.partition(end)[2]}"
    return text


def _cells(setting: Setting) -> list[str]:
    cells = [f"`{setting.env}`", f"`{setting.key}`", setting.default, setting.allowed, setting.description]
    return [cell.replace("|", "\\|") or "(empty)" for cell in cells]


def _json(document: dict[str, Any]) -> str:
    return msgspec.json.format(msgspec.json.encode(document)).decode() + "\n"


if __name__ == "__main__":
    for path, text in generated().items():
        path.write_text(text)
        print(f"wrote {path.relative_to(ROOT)}")
