"""Options that several command-line apps have in common."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

Json = Annotated[bool, Parameter(name="--json", negative="", help="Machine-readable output on stdout.")]
