"""The hosting process with a fake client: `python -m tests.neonize.fake_child <folder> <descriptor>`."""

import sys
from pathlib import Path

from tests.neonize.fake_client import make_fake
from transports.neonize.child import main

if __name__ == "__main__":
    main(make_fake(Path(sys.argv[1])))
