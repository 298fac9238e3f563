"""Profiles: those that are shipped load, and a bad one is refused with its file and field."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import people
from transports.errors import ProfileError
from transports.simulated import Profile, World, load_profile, shipped_profiles


def test_the_profiles_the_documentation_names_are_shipped() -> None:
    assert {"calm", "story-timings", "flaky", "congested", "strict-limits", "bad-numbers", "original"} <= set(
        shipped_profiles()
    )


@pytest.mark.parametrize("name", shipped_profiles())
def test_every_shipped_profile_loads_describes_itself_and_decides_calls(name: str) -> None:
    profile = load_profile(name)
    assert profile.description
    world = World(profile)
    for now, size in enumerate((1, 100, 5_000, 60_000)):
        assert world.fate(people(size), now).seconds > 0 or name == "instant"


def test_an_empty_profile_behaves_well(tmp_path: Path) -> None:
    file = tmp_path / "empty.toml"
    file.write_text("")
    assert load_profile(str(file)) == Profile()
    fate = World(Profile()).fate(people(100), 0)
    assert (fate.failure, fate.failed, fate.reaches) == (None, {}, True)


def test_a_file_of_ones_own_is_loaded_by_its_path(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("seed = 3\n[timeout]\nseconds = 2\n[[outages]]\nstart = 1\nend = 2\n")
    assert (load_profile(str(file)).seed, load_profile(str(file)).timeout.seconds) == (3, 2)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("[latency]\na = -1", "latency.a"),
        ("[latency]\na = nan", "latency.a"),
        ("[latency]\na = inf", "latency.a"),
        ("[latency]\na = 'fast'", "latency.a"),
        ("[latency]\nspeed = 1", "speed"),
        ("[latency]\npoints = [[100, 1.0], [50, 2.0]]", "latency.points"),
        ("[latency]\npoints = [[0, 1.0]]", "latency.points"),
        ("[latency]\npoints = [[1, 1.0], [1, 2.0]]", "latency.points"),
        ("[latency]\npoints = [[1, 0.0]]", "latency.points"),
        ("[timeout]\nseconds = 0", "timeout.seconds"),
        ("[timeout]\ndelivers = 1.5", "timeout.delivers"),
        ("[limits]\ncalls_burst = 0", "limits.calls_burst"),
        ("[failures]\nbase = 99", "failures.base"),
        ("[numbers]\nanswer = 'silence'", "numbers.answer"),
        ("[numbers]\ndead_share = 2", "numbers.dead_share"),
        ("[[conditions]]\nstart = 1\nend = 2", "slower"),
        ("[[outages]]\nstart = 5\nend = 5", "window"),
        ("[[outages]]\nstart = -1\nend = 5", "outages"),
        ("frame_limit = 0", "frame_limit"),
        ("restricted_after_calls = -1", "restricted_after_calls"),
        ("weather = 'bad'", "weather"),
    ],
)
def test_a_bad_profile_is_refused_with_its_file_and_field(tmp_path: Path, text: str, field: str) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(text)
    with pytest.raises(ProfileError) as caught:
        load_profile(str(file))
    assert str(file) in str(caught.value)
    assert field in str(caught.value)


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b"[latency", b"seed = 1\nseed = 2", b"{}"])
def test_a_profile_that_is_no_toml_is_refused(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "bad.toml"
    file.write_bytes(data)
    with pytest.raises(ProfileError, match=r"bad\.toml"):
        load_profile(str(file))


@pytest.mark.parametrize("name", ["no-such-profile", "", "."])
def test_a_profile_that_does_not_exist_is_refused_with_those_that_do(name: str) -> None:
    with pytest.raises(ProfileError, match="story-timings"):
        load_profile(name)


def test_no_profile_that_loads_makes_a_call_take_less_than_no_time(tmp_path: Path) -> None:
    file = tmp_path / "falling.toml"
    file.write_text("[latency]\npoints = [[1, 5.0], [100, 1.0]]\n")
    try:
        profile = load_profile(str(file))
    except ProfileError:
        return
    assert World(profile).fate(people(1_000), 0).seconds >= 0
