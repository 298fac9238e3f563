"""Orders are played by processes of our own, as many at a time as there are cores.

A player ends when its stdin does: with us, whatever ends us. Ctrl-C in the terminal is for us alone.
"""

from __future__ import annotations

import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import trio
from msgspec import Struct

from ops.bench.policies.grid import Order, Played, Watch, Watched
from stages.errors import StorycastError

_ROOT: Final = Path(__file__).resolve().parents[3]
_COMMAND: Final = (sys.executable, "-m", "ops.bench.policies.player")


class PlayerFailed(StorycastError):
    """A player ended while it was needed. It has said why on stderr."""


class _Work(Struct):
    """Orders that wait, by their places, and what came of the others."""

    waiting: deque[tuple[int, Order | Watch]]
    done: dict[int, Played | Watched]
    tell: Callable[[], None]


async def all_played(
    orders: Sequence[Order | Watch], *, processes: int, tell: Callable[[], None]
) -> list[Played | Watched]:
    """What came of `orders`, in their order, whatever the number of processes; `tell` is called after each.

    Raises `PlayerFailed`. Cancelled, it ends its processes.
    """
    by_size = sorted(enumerate(orders), key=lambda numbered: -numbered[1].recipients)
    work = _Work(deque(by_size), {}, tell)
    async with trio.open_nursery() as nursery:
        for _ in range(min(processes, len(orders))):
            nursery.start_soon(_keep_a_player_busy, work)
    return [work.done[place] for place in range(len(orders))]


async def _keep_a_player_busy(work: _Work) -> None:
    async with trio.open_nursery() as nursery:
        player = await nursery.start(
            partial(
                trio.run_process,
                _COMMAND,
                cwd=_ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                check=False,
                start_new_session=True,
            )
        )
        async with player.stdin, player.stdout:
            said = bytearray()
            while work.waiting:
                place, order = work.waiting.popleft()
                await _tell(player.stdin, order)
                work.done[place] = await _answer(player.stdout, said)
                work.tell()


async def _tell(stdin: trio.abc.SendStream, order: Order | Watch) -> None:
    try:
        await stdin.send_all(msgspec.json.encode(order) + b"\n")
    except trio.BrokenResourceError as error:
        raise PlayerFailed("a process that plays stories has ended") from error


async def _answer(stdout: trio.abc.ReceiveStream, said: bytearray) -> Played | Watched:
    while not said.endswith(b"\n"):
        some = await stdout.receive_some()
        if not some:
            raise PlayerFailed("a process that plays stories has ended")
        said += some
    answer = msgspec.json.decode(said, type=Played | Watched)
    said.clear()
    return answer
