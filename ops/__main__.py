"""`python -m ops` is `storycast`."""

from ops import main

main()
