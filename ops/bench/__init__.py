"""Benchmarks that people run on their own machine: `storycast bench`."""
