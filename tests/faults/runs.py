"""One story to 20,000 recipients in whose course something goes wrong, and what became of it."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from random import Random

import trio

from tests.faults.checks import Ban, Outcome
from tests.faults.processes import RARELY, NatsServer, until
from tests.faults.scene import RECIPIENTS, Instant, Scene, draw_instant, open_cluster, open_scene
from tests.support import people
from transports.subjects import CONSUMERS, STREAM_SENDS, report_subject

STORY = "sale"
LONG = 10.0
"""Seconds after which NATS is away for long: longer than a lease."""


async def outcome_of(
    scene: Scene, *, seed: int, what: str, faults: int = 1, ban: Ban | None = None, said: str | None = None
) -> Outcome:
    """What became of the story, once it is reported, can be delivered to nobody any more, and all workers ended."""
    report = await scene.until_report(STORY)
    await scene.until_settled()
    await scene.end_workers()
    return Outcome(
        seed=seed,
        what=what,
        session="main",
        story=STORY,
        recipients=people(RECIPIENTS),
        faults=faults,
        record=scene.record.of("main"),
        report=report,
        reports=(await scene.reports()).get(report_subject("main", STORY), 0),
        ban=ban,
        said=said,
    )


async def kill_workers(home: Path, seed: int, *, kills: int = 1) -> Outcome:
    """Each worker that has the story is killed at some instant; another one stands by, or is started then."""
    random = Random(f"workers {seed}")
    stands_by = random.random() < 0.5
    said: list[str] = ["another one stands by" if stands_by else "another one is started then"]
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
    return await _outage(home, seed, instant, away)


async def long_outage(home: Path, seed: int, *, seconds: float) -> Outcome:
    """The server is away for long in the middle of a story."""
    instant = Instant(began=Random(f"outage {seed}").randint(2, 12))
    return await _outage(home, seed, instant, seconds)


async def _outage(home: Path, seed: int, instant: Instant, seconds: float) -> Outcome:
    async with open_scene(home) as scene:
        worker = await scene.worker()
        await scene.publish(STORY)
        await scene.reach(instant)
        scene.nats.kill()
        await trio.sleep(seconds)
        said = worker.err if seconds > LONG else None
        await scene.nats.start()
        outcome = await outcome_of(scene, seed=seed, what=f"{instant}, away for {seconds:.2f} s", said=said)
        assert worker.process.returncode == 0, worker.err
        return outcome


async def freeze_worker(home: Path, seed: int) -> Outcome:
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
        ban = Ban(pid=frozen.pid, since=time.time())
        frozen.thaw()
        what = f"frozen in call {call}, thawed {later:.2f} s after another one began"
        outcome = await outcome_of(scene, seed=seed, what=what, ban=ban)
        assert frozen.process.returncode == 0, frozen.err
        return outcome


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
        return await outcome_of(scene, seed=seed, what=f"{instant}, {leader.name} led")


async def leader_of(scene: Scene, stream: str) -> NatsServer:
    """The server that leads a stream of three replicas."""
    info = await scene.ask(partial(scene.bus.call, scene.bus.jetstream.stream_info, stream))
    assert info.cluster is not None
    assert info.config.num_replicas == 3
    return next(server for server in scene.servers if server.name == info.cluster.leader)


async def kill_while_paused(home: Path, seed: int) -> Outcome:
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
        ban = Ban(pid=None, since=paused, until=time.time())
        await scene.command("resume", "main", STORY)
        return await outcome_of(scene, seed=seed, what=f"paused in call {call}", ban=ban)


async def redelivered(scene: Scene) -> bool:
    """Whether some request was delivered again, and is not settled yet."""
    ask = partial(scene.bus.call, scene.bus.jetstream.consumer_info, STREAM_SENDS, CONSUMERS["normal"])
    return bool((await scene.ask(ask)).num_redelivered)
