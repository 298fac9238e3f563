"""What the documentation says is what the code does."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from ops.docs import ROOT, generated
from stages.flow import POISON
from stages.messages import Report

CODE = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


def code_in(page: str) -> str:
    [block] = CODE.findall((ROOT / page).read_text())
    assert isinstance(block, str)
    return block


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address of a `storycast up` on a port that was free a moment ago."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("STORYCAST", "SMART"))}
    command = [sys.executable, "-m", "ops", "up", "--data", str(tmp_path / "data"), "--port", "0"]
    with subprocess.Popen(
        command, env=clean, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as up:
        assert up.stdout is not None
        ready = up.stdout.readline()
        yield ready.split()[3].rstrip(",")
        up.terminate()


@pytest.mark.parametrize("path", generated(), ids=lambda path: path.name)
def test_generated_pages_are_what_make_docs_would_write(path: Path) -> None:
    assert path.read_text() == generated()[path], "run `make docs`"


def test_the_readme_sends_a_first_story_with_twelve_lines_of_nats_py(server: str) -> None:
    code = code_in("README.md")
    assert len(code.splitlines()) == 12
    code = code.replace("nats://127.0.0.1:4222", server)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=True)
    report = msgspec.json.decode(run.stdout, type=Report)
    assert (report.success, report.sent_successfully) == (True, 2)


def test_the_client_page_sends_and_reports_on_trio_and_on_asyncio(server: str, tmp_path: Path) -> None:
    (tmp_path / "people.txt").write_text("6281234567890\n6281234567891\n")
    blocks = CODE.findall((ROOT / "docs/client.md").read_text())
    said = []
    for block in blocks:
        run = subprocess.run(
            [sys.executable, "-W", "error", "-c", block.replace("nats://127.0.0.1:4222", server)],
            capture_output=True,
            text=True,
            timeout=25,
            cwd=tmp_path,
            check=True,
        )
        said.append((run.stdout, run.stderr))
    assert ["trio.run" in blocks[0], "asyncio.run" in blocks[1]] == [True, True]
    assert said == [("completed 1\n", ""), ("completed 2\n", "")]


def test_the_embedding_page_runs_a_lane_without_nats() -> None:
    run = subprocess.run(
        [sys.executable, "-c", code_in("docs/embedding.md")],
        capture_output=True,
        text=True,
        timeout=50,
        cwd=ROOT,
        check=True,
    )
    assert run.stdout == "completed 1\n"


def test_the_wire_page_lists_every_refusal_code_of_the_worker() -> None:
    sources = "".join(
        (ROOT / path).read_text()
        for path in (
            "stages/requests.py",
            "stages/recipients.py",
            "stages/lists.py",
            "stages/ingest.py",
            "stages/account.py",
            "pipeline/routing.py",
            "pipeline/outbound.py",
        )
    )
    raised = {*re.findall(r'BadRequest\(\s*"([a-z-]+)"', sources), POISON}
    refusals = (ROOT / "docs/wire.md").read_text().partition("## Refusals")[2]
    listed = {
        code for row in re.findall(r"^\| (`.*?) \|", refusals, re.MULTILINE) for code in row.split(", ")
    }
    assert {f"`{code}`" for code in raised} == listed


def test_every_link_in_the_documentation_leads_somewhere() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    links = [
        (page, link) for page in pages for link in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text())
    ]
    assert links
    assert [(page.name, link) for page, link in links if not (page.parent / link).exists()] == []
