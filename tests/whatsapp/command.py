"""`storycast`, whose neonize knows only the WhatsApp on loopback.

    python -m tests.whatsapp.command PORT pair [OPTION ...]

The product has no such setting.
"""

from __future__ import annotations

import sys
from functools import partial
from unittest.mock import patch

from ops import cli, main
from ops.pair import pair
from tests.whatsapp.rig import command

if __name__ == "__main__":
    port = int(sys.argv.pop(1))
    with patch.object(cli, "pair", partial(pair, command=command(port))):
        main()
