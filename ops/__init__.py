"""What people run: the command line, and what stands behind each command."""

from ops.cli import app, main

__all__ = ["app", "main"]
