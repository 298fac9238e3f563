"""`python -m ops` is `storycast`."""

from ops.cli import main

main()
