"""Orders and overviews: `storycast pause|resume|cancel|status`, `storycast list`, `storycast workers`."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from rich.console import Console
from rich.table import Table

from ops.exits import SUCCESS, UNREACHABLE, fail
from ops.serve import interruptible
from pipeline.client import Client, open_client
from stages.messages import Action, SessionInfo, StoryStatus, WorkerInfo

NOBODY = "no worker is running"


async def order(url: str, action: Action, session: str, story: str | None, *, json: bool) -> int:
    """Give an order for a story, or for a session as a whole, and say where it is after that."""
    async with interruptible(), open_client(url, name=f"storycast {action}") as client:
        status = await _carried_out(client, action, session, story)
    print(msgspec.json.encode(status).decode() if json else _said(status))
    return SUCCESS


async def _carried_out(client: Client, action: Action, session: str, story: str | None) -> StoryStatus:
    if story is not None or action != "resume":
        return await client.control(session, story, action)
    status = await client.serve_again(session)
    reason = "no worker is running; the next one serves it"
    return status or StoryStatus(session_id=session, story_id=None, state="waiting", reason=reason)


async def stories(url: str, *, json: bool) -> int:
    """List the stories that workers have in hand, and those that are paused."""
    found = await _workers(url)
    rows = [(worker, session) for worker in found for session in worker.sessions]
    if json:
        print(msgspec.json.encode([session for _, session in rows]).decode())
    if not found:
        return fail(NOBODY, UNREACHABLE)
    if not json:
        _print(("session", "story", "state", "waiting", "worker"), [row for it in rows for row in _rows(*it)])
    return SUCCESS


async def workers(url: str, *, json: bool) -> int:
    """List the workers, and the sessions that each of them owns."""
    found = await _workers(url)
    if json:
        print(msgspec.json.encode(found).decode())
    if not found:
        return fail(NOBODY, UNREACHABLE)
    rows = [
        (
            info.worker,
            info.host,
            str(info.pid),
            f"{info.since:%Y-%m-%d %H:%M:%S}",
            ", ".join(session.session_id for session in info.sessions) or "none",
        )
        for info in found
    ]
    if not json:
        _print(("worker", "host", "pid", "since (UTC)", "sessions"), rows)
    return SUCCESS


async def _workers(url: str) -> Sequence[WorkerInfo]:
    async with interruptible(), open_client(url, name="storycast workers") as client:
        return await client.workers()


def _rows(worker: WorkerInfo, session: SessionInfo) -> Sequence[tuple[str, ...]]:
    """A session's stories, or itself where none is in hand."""
    name, waiting = session.session_id, str(session.waiting)
    rows = [(name, story, "paused", "", worker.worker) for story in session.paused]
    if session.parked:
        rows.append((name, "", f"stopped: {session.parked}", waiting, worker.worker))
    elif session.story_id or not rows:
        state = "under way" if session.story_id else "idle"
        rows.append((name, session.story_id or "", state, waiting, worker.worker))
    return rows


def _print(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    Console(highlight=False).print(table)


def _said(status: StoryStatus) -> str:
    what = f"session {status.session_id}" if status.story_id is None else f"story {status.story_id}"
    counts = f": {status.sent:,} sent, {status.failed:,} failed of {status.total:,}" if status.total else ""
    by = f" (worker {status.worker})" if status.worker else ""
    return f"{what} is {status.state}{counts}{by}{f'; {status.reason}' if status.reason else ''}"
