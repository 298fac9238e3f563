"""The commands of `storycast bench`. Each only reads its options; the work is in the module named after it."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from cyclopts import App, Parameter

from ops.bench.scale import scale, sizes_in
from ops.exits import run
from ops.parameters import Json

app = App(name="bench", help="Measure storycast on this machine, with a server and a worker of its own.")


@app.command(name="scale")
def scale_command(
    *,
    sizes: Annotated[str, Parameter(help="Numbers of recipients, comma-separated.")] = "10000,100000,1000000",
    json: Json = False,
) -> int:
    """Send a story to longer and longer lists: what each recipient costs in time and memory."""
    return run(partial(scale, sizes_in(sizes), json=json))
