"""What joins the stages to the transports: settings, topology, lanes, the worker, and the client."""

from pipeline.client import Answer, Client, Event, Events, open_client
from pipeline.resolution import SettingsError, load_settings
from pipeline.settings import Infrastructure, Setting, Settings
from pipeline.topology import Lane, LaneStatistics, Ports, run_lane
from pipeline.worker import Worker, WorkerStatistics, run_worker

__all__ = [
    "Answer",
    "Client",
    "Event",
    "Events",
    "Infrastructure",
    "Lane",
    "LaneStatistics",
    "Ports",
    "Setting",
    "Settings",
    "SettingsError",
    "Worker",
    "WorkerStatistics",
    "load_settings",
    "open_client",
    "run_lane",
    "run_worker",
]
