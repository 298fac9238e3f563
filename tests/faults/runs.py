"""Stories in whose course something is killed, each in a scene of its own, and what became of them."""

from __future__ import annotations

from pathlib import Path
from random import Random

import trio

from tests.faults.checks import Outcome
from tests.faults.scene import RECIPIENTS, Scene, draw_instant, open_scene
from tests.support import people

STORY = "sale"


async def outcome_of(scene: Scene, *, seed: int, faults: int, what: str) -> Outcome:
    """What became of the story, once it is reported and can be delivered to nobody any more."""
    report = await scene.until_report(STORY)
    await scene.until_settled()
    return Outcome(
        seed=seed,
        session="main",
        story=STORY,
        recipients=people(RECIPIENTS),
        faults=faults,
        record=scene.record,
        report=report,
        reports=sum((await scene.reports()).values()),
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
