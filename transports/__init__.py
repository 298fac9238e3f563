"""Adapters to the outside: the NATS bus, and the engines."""
