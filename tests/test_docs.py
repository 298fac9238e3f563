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
from msgspec import structs

from ops.bench import page
from ops.bench.explained import claims, parts
from ops.bench.goals import verdict
from ops.bench.latency import Latency
from ops.bench.output import encoded, read
from ops.bench.overhead_figures import Overhead
from ops.bench.scale_figures import Scale
from ops.bench.throughput import Throughput
from ops.bench.whatsapp_figures import Ratio, Whatsapp
from ops.docs import BENCH, BENCHMARKS, MEASURED, ROOT, generated, with_parts
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


@pytest.mark.parametrize(
    ("name", "heading"),
    [("explanation.md", ""), ("benchmarks.md", ""), ("reliability.md", "## A million recipients")],
)
def test_no_measured_figure_is_written_by_hand(name: str, heading: str) -> None:
    section = (ROOT / "docs" / name).read_text().partition(heading or "# ")[2]
    by_hand = re.sub(r"<!-- (\w+): made by .*?<!-- end of \1 -->", "", section, flags=re.DOTALL)
    assert 0 < len(by_hand) < len(section)
    assert re.findall(r"[0-9.,]*[0-9] ?(?:ms|s|%|times|bytes|B|calls)\b|[0-9]\.[0-9]", by_hand) == []


GOALS_OF: dict[str, type[Scale | Overhead | Throughput | Latency]] = {
    "scale": Scale,
    "overhead": Overhead,
    "throughput": Throughput,
    "latency": Latency,
}


@pytest.mark.parametrize("path", sorted(BENCH.glob("*.json")), ids=lambda path: path.name)
def test_each_committed_result_is_on_a_page_with_its_machine_and_its_chart(path: Path) -> None:
    if path == MEASURED:  # it has a page of its own, without a chart
        return
    written = page.parts(BENCH)[path.stem]
    assert "Measured on " in written
    assert f"(../bench/{path.stem}.svg)" in written
    assert written in BENCHMARKS.read_text()


def test_a_figure_of_a_result_that_changes_is_another_one_on_the_page(tmp_path: Path) -> None:
    for result in BENCH.glob("*.json"):
        (tmp_path / result.name).write_bytes(result.read_bytes())
    found = read(BENCH / "overhead.json", Overhead)
    changed = structs.replace(found, over_path=7.6543)
    (tmp_path / "overhead.json").write_bytes(encoded(changed))
    assert "7.6543 times as long" in page.parts(tmp_path)["overhead"]
    assert page.parts(tmp_path)["scale"] == page.parts(BENCH)["scale"]


def test_every_goal_is_in_the_readme_with_its_verdict() -> None:
    readme = (ROOT / "README.md").read_text()
    measured = {name: BENCH / f"{name}.json" for name in GOALS_OF if (BENCH / f"{name}.json").exists()}
    goals = [goal for name, path in measured.items() for goal in read(path, GOALS_OF[name]).goals]
    assert measured.keys() >= {"scale", "overhead"}
    assert len(goals) >= 3
    for goal in goals:
        assert re.search(rf"\| {re.escape(goal.name)} \|.*\*\*{verdict(goal)}\*\* \|", readme)


def test_a_part_that_was_not_measured_leaves_its_place_as_it_is(tmp_path: Path) -> None:
    assert page.parts(tmp_path) == {}
    assert with_parts(BENCHMARKS.read_text(), {}, "make bench") == BENCHMARKS.read_text()


def test_a_part_without_a_place_on_its_page_is_noticed() -> None:
    with pytest.raises(LookupError, match="lacks the marks <!-- scale: made by `make bench` -->"):
        with_parts("# A page", {"scale": "figures"}, "make bench")


def measured() -> Whatsapp:
    return msgspec.json.decode(MEASURED.read_bytes(), type=Whatsapp)


def test_the_explanation_answers_every_claim_for_the_sizes_it_was_made_of() -> None:
    said = {claim.said: claim for claim in claims(measured())}
    assert len(said) == 7
    assert [said for said, claim in said.items() if "not measured" in claim.measured] == []


def test_every_row_of_the_tables_of_figures_has_a_cell_for_each_head() -> None:
    tables = [text for text in parts(measured()).values() if text.startswith("|")]
    assert len(tables) == 3
    assert [len({row.count("|") for row in table.splitlines()}) for table in tables] == [1, 1, 1]


def test_the_verdicts_of_the_explanation_follow_from_the_figures() -> None:
    found = measured()
    faster = [
        structs.replace(one, time=Ratio(median=0.25, low=0.2, high=0.3)) for one in found.sizes[-1].states
    ]
    largest = structs.replace(found.sizes[-1], states=faster, repeated=5)
    verdicts = {
        claim.said: claim.verdict
        for claim in claims(structs.replace(found, sizes=[*found.sizes[:-1], largest], refused=[]))
    }
    assert verdicts["anchored batches are faster than one call"] == "**true**"
    assert verdicts["they are 3 to 5 times faster"] == "**true**"
    assert verdicts["the anchor's ciphertext is used again for all the others"] == "**true**"
    assert verdicts["one call to 50,000 takes 40 to 60 s"] == "unknown"


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
            "stages/ability.py",
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
