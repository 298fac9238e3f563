"""What a phone's camera makes of a QR code in a terminal."""

from __future__ import annotations

import importlib
from typing import Any

SHADES = {"█": (255, 255), " ": (0, 0), "▀": (255, 0), "▄": (0, 255)}
"""The upper and the lower half of a character."""
SCALE = 4


def read_qr_code(screen: str) -> str | None:
    """The text of the last QR code on the screen, if there is a whole one. Needs zxing-cpp."""
    zxingcpp: Any = importlib.import_module("zxingcpp")
    drawn = [line for line in screen.splitlines() if line and SHADES.keys() >= set(line)]
    width = len(drawn[-1]) if drawn else 0
    rows = [
        bytes(SHADES[each][half] for each in line) for line in drawn if len(line) == width for half in (0, 1)
    ]
    pixels = b"".join(bytes(shade for shade in row for _ in range(SCALE)) * SCALE for row in rows)
    if not pixels:
        return None
    picture = memoryview(pixels).cast("B", shape=[len(rows) * SCALE, width * SCALE])
    found = zxingcpp.read_barcodes(picture)
    return str(found[-1].text) if found else None
