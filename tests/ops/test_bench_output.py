"""What `storycast bench` gives: JSON that says what was measured, and a chart of it that is always the same."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from math import inf
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest

from ops.bench import charts
from ops.bench.charts import Bars, GoalLine, Lines, Panel
from ops.bench.goals import Goal, at_least, at_most, found
from ops.bench.machine import Machine, machine
from ops.bench.output import Result, Unwritable, Wanted, encoded, read, write
from ops.bench.scale_figures import Cost, Scale, goals, growth, panels
from tests.ops.support import Call, decoded, run

CHECKOUT = Path(__file__).resolve().parents[2]
SVG = "{http://www.w3.org/2000/svg}svg"
HERE = Machine(cpu="a processor", cores=2, system="Linux", python="3.11.7", nats_server="2.15.1")


class Sample(Result, frozen=True, kw_only=True, rename="camel"):
    took_seconds: float
    goals: list[Goal]


SAMPLE = Sample(machine=HERE, took_seconds=1.25, goals=[at_most("quick", 2, 1.25, "s")])
DRAWN: list[Panel] = [
    Bars(
        title="Bars",
        y_label="s",
        groups=["3,000", "10,000"],
        series={"one call": [2.5, 10.0], "tiered": [1.5, None]},
        goal=GoalLine(value=4, label="at most 4 s"),
    ),
    Lines(
        title="Lines", x_label="recipients", y_label="s", series={"each": [(10, 1), (1000, 2)]}, log_y=True
    ),
]


def cost(recipients: int, micros: float, peak: int | None) -> Cost:
    return Cost(
        recipients=recipients,
        sending_seconds=0.1,
        seconds=micros * recipients / 1e6,
        engine_seconds=0.0,
        micros_per_recipient=micros,
        batches=3,
        worker_peak=peak,
        sender_peak=peak,
        largest_checkpoint=300,
        checkpoints=5,
    )


def test_a_part_writes_its_result_and_its_chart_into_a_folder_that_is_made(tmp_path: Path) -> None:
    folder = tmp_path / "some" / "where"
    write("sample", SAMPLE, DRAWN, folder)
    assert read(folder / "sample.json", Sample) == SAMPLE
    assert decoded((folder / "sample.json").read_text())["machine"]["natsServer"] == "2.15.1"
    drawn = ElementTree.fromstring((folder / "sample.svg").read_bytes())
    assert drawn.tag == SVG


def test_the_same_figures_always_give_the_same_files_in_another_process_too(tmp_path: Path) -> None:
    write("sample", SAMPLE, DRAWN, tmp_path / "here")
    code = (
        "import sys; from pathlib import Path; from ops.bench.output import write;"
        "from tests.ops.test_bench_output import DRAWN, SAMPLE;"
        "write('sample', SAMPLE, DRAWN, Path(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "there"], cwd=CHECKOUT, timeout=30, check=True)
    for name in ("sample.json", "sample.svg"):
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes()


def test_what_cannot_be_written_is_known_before_anything_is_measured(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(Unwritable, match=r"taken: File exists"):
        Wanted(out=tmp_path / "taken").check()


def test_without_matplotlib_a_chart_is_refused_in_one_line_that_says_how_to_install_it(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    ended = call("bench", "scale", "--out", "bench")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == (
        "storycast: charts need matplotlib, which is not installed: pip install 'storycast[bench]'\n"
    )


def test_matplotlib_is_not_imported_until_a_chart_is_drawn() -> None:
    code = (
        "import sys, ops.cli, ops.bench.charts; from ops.bench.output import Wanted; Wanted().check();"
        "sys.exit('matplotlib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=30, check=False).returncode == 0


def test_a_scale_that_is_written_to_files_says_there_what_it_prints(tmp_path: Path) -> None:
    ended = run("bench", "scale", "--sizes", "300", "--json", "--out", "found", home=tmp_path)
    assert ended.code == 0, ended.err
    assert (tmp_path / "found" / "scale.json").read_text() == ended.out
    assert ElementTree.fromstring((tmp_path / "found" / "scale.svg").read_bytes()).tag == SVG
    assert msgspec.json.decode(ended.out, type=Scale).machine == machine()


def test_goals_are_met_up_to_their_limit_and_no_further() -> None:
    assert [at_most("a", 2, 2).met, at_most("a", 2, 2.1).met] == [True, False]
    assert [at_least("a", 2, 2).met, at_least("a", 2, 1.9).met] == [True, False]


def test_a_figure_just_beyond_its_goal_has_digits_enough_to_show_it() -> None:
    shown = [found(at_most("a", 1.05, measured)) for measured in (1.0500001, 1.05003, 1.06, 1.05)]
    assert shown == ["1.0500001", "1.05003", "1.06", "1.05"]
    assert [found(at_least("a", 99.95, measured, "%")) for measured in (99.949, inf)] == [
        "99.949 %",
        "without end",
    ]


def test_the_goals_of_scale_are_judged_at_the_sizes_they_are_about() -> None:
    good = [cost(10_000, 5, 50_000_000), cost(1_000_000, 5.5, 250_000_000)]
    bad = [cost(10_000, 5, 50_000_000), cost(1_000_000, 5.6, 250_000_001)]
    assert [[goal.met for goal in goals(costs)] for costs in (good, bad)] == [[True, True], [False, False]]
    assert goals([cost(300, 5, 1), cost(100_000, 50, 1)]) == []
    assert [goal.name for goal in goals([cost(1_000_000, 5, None)])] == []


def test_a_scale_of_a_system_that_tells_no_peak_has_a_chart_all_the_same() -> None:
    costs = [cost(10_000, 5, None), cost(1_000_000, 5.5, None)]
    found = Scale(costs=costs, growth=growth(costs), goals=goals(costs), memory_from="", machine=HERE)
    drawn = charts.svg(panels(found), title="scale")
    assert ElementTree.fromstring(drawn).tag == SVG
    assert msgspec.json.decode(encoded(found), type=Scale) == found
