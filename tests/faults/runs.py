"""Stories in whose course something is killed, each in a scene of its own, and what became of them."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from random import Random

import trio
from msgspec import Struct

from tests.faults.checks import Outcome
from tests.faults.processes import RARELY, NatsServer, until
from tests.faults.scene import RECIPIENTS, Instant, Scene, draw_instant, open_cluster, open_scene
from tests.support import people
from transports.subjects import CONSUMERS, STREAM_SENDS, report_subject

STORY = "sale"


async def outcome_of(scene: Scene, *, seed: int, faults: int, what: str) -> Outcome:
    """What became of the story, once it is reported, can be delivered to nobody any more, and all workers ended."""
    report = await scene.until_report(STORY)
    await scene.until_settled()
    await scene.end_workers()
    return Outcome(
        seed=seed,
        session="main",
        story=STORY,
        recipients=people(RECIPIENTS),
        faults=faults,
        record=scene.record.of("main"),
        report=report,
        reports=(await scene.reports()).get(report_subject("main", STORY), 0),
        what=what,
    )


async def kill_workers(home: Path, seed: int, *, kills: int = 1) -> Outcome:
    """Each worker that has the story is killed at some instant; another one stands by, or is started then."""
    random = Random(f"workers {seed}")
    stands_by = random.random() < 0.5
    said: list[str] = ["stands by" if stands_by else "started then"]
    async with open_scene(home) as scene:
        victim = await scene.worker()
        if stands_by:
            await scene.worker()
        await scene.publish(STORY)
        for kill in range(kills):
            so_far = len(scene.record.calls)
            if kill:
                await scene.until_calls(began=so_far + 1)  # the one that took over has begun
            instant = draw_instant(random, so_far=so_far, share=1 / kills)
            said.append(str(instant))
            await scene.reach(instant)
            victim = scene.owner() or victim
            victim.kill()
            scene.start_worker()
        return await outcome_of(scene, seed=seed, faults=kills, what=", ".join(said))


async def kill_nats(home: Path, seed: int) -> Outcome:
    """The server is killed at some instant, and started again after 0.1 to 5 s; the worker lives on."""
    random = Random(f"nats {seed}")
    instant, away = draw_instant(random), random.uniform(0.1, 5)
    async with open_scene(home) as scene:
        await scene.worker()
        await scene.publish(STORY)
        await scene.reach(instant)
        scene.nats.kill()
        await trio.sleep(away)
        await scene.nats.start()
        return await outcome_of(scene, seed=seed, faults=1, what=f"{instant}, away for {away:.2f} s")


async def long_outage(home: Path, seed: int, *, seconds: float) -> tuple[Outcome, str]:
    """The server is away in the middle of a story for `seconds`. Returns also what the worker said on stderr."""
    random = Random(f"outage {seed}")
    instant = Instant(began=random.randint(2, 18))
    async with open_scene(home) as scene:
        worker = await scene.worker()
        await scene.publish(STORY)
        await scene.reach(instant)
        scene.nats.kill()
        await trio.sleep(seconds)
        assert worker.is_alive, worker.err
        said = worker.err
        await scene.nats.start()
        outcome = await outcome_of(scene, seed=seed, faults=1, what=f"{instant}, away for {seconds} s")
        assert worker.process.returncode == 0, worker.err
        return outcome, said


class Frozen(Struct, frozen=True):
    """A worker was frozen, and later thawed, when another one had its session."""

    outcome: Outcome
    pid: int
    thawed: float
    """When it was thawed, by the wall clock."""


async def freeze_worker(home: Path, seed: int) -> Frozen:
    """The worker that has the story is frozen in the middle of a call until another one goes on with it."""
    random = Random(f"frozen {seed}")
    call, later = random.randint(2, 8), random.uniform(0, 1)
    async with open_scene(home) as scene:
        await scene.worker()
        await scene.worker()
        await scene.publish(STORY)
        await scene.until_calls(began=call)
        frozen = scene.owner()
        assert frozen is not None
        frozen.freeze()
        await scene.until_calls(began=len(scene.record.calls) + 1)  # the other one has it
        await trio.sleep(later)
        thawed = time.time()
        frozen.thaw()
        what = f"frozen in call {call}, thawed {later:.2f} s after another one began"
        outcome = await outcome_of(scene, seed=seed, faults=1, what=what)
        assert frozen.process.returncode == 0, frozen.err
        return Frozen(outcome, frozen.pid, thawed)


async def kill_leader(home: Path, seed: int) -> Outcome:
    """Of three servers the one is killed, for good, that leads the stream of requests."""
    instant = draw_instant(Random(f"leader {seed}"))
    async with open_cluster(home) as scene:
        await scene.ask(partial(scene.bus.call, scene.bus.jetstream.account_info))  # the three are one now
        await scene.worker(STORYCAST_REPLICAS="3")
        await scene.publish(STORY)
        await scene.reach(instant)
        leader = await leader_of(scene, STREAM_SENDS)
        leader.kill()
        return await outcome_of(scene, seed=seed, faults=1, what=f"{instant}, {leader.name} led")


async def leader_of(scene: Scene, stream: str) -> NatsServer:
    """The server that leads a stream."""
    info = await scene.ask(partial(scene.bus.call, scene.bus.jetstream.stream_info, stream))
    assert info.cluster is not None
    assert info.config.num_replicas == 3
    return next(server for server in scene.servers if server.name == info.cluster.leader)


class Paused(Struct, frozen=True):
    """A story was paused, its worker killed, and the story resumed with another one."""

    outcome: Outcome
    at: float
    until: float
    """When it was paused and resumed, by the wall clock."""


async def kill_while_paused(home: Path, seed: int) -> Paused:
    """Pause, SIGKILL, start, and some time later resume."""
    call = Random(f"paused {seed}").randint(2, 15)
    async with open_scene(home) as scene:
        worker = await scene.worker()
        await scene.publish(STORY)
        await scene.until_calls(began=call)
        await scene.command("pause", "main", STORY)
        paused = time.time()
        await scene.until_calls(ended=len(scene.record.calls))
        worker.kill()
        await scene.worker()
        await until(partial(redelivered, scene), lambda: "the paused story is delivered again", every=RARELY)
        await scene.publish("other", 300, session="other")
        await scene.until_report("other", session="other")
        resumed = time.time()
        await scene.command("resume", "main", STORY)
        outcome = await outcome_of(scene, seed=seed, faults=0, what=f"paused in call {call}")
        return Paused(outcome, paused, resumed)


async def redelivered(scene: Scene) -> bool:
    """Whether some request was delivered again, and is not settled yet."""
    ask = partial(scene.bus.call, scene.bus.jetstream.consumer_info, STREAM_SENDS, CONSUMERS["normal"])
    return bool((await scene.ask(ask)).num_redelivered)
