"""What storycast is measured beside: programs that do the same on NATS with nothing of storycast's pipeline.

Each runs as a process of its own, `python -m ops.bench.peers.<name> <url>`, until it is told to end.
"""
