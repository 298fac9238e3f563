"""What joins the stages to the transports: settings, topology, lanes, the worker, and the client."""

from pipeline.client import Answer, Event, Following, follow, follow_all, submit
from pipeline.resolution import SettingsError, load_settings
from pipeline.settings import Infrastructure, Setting, Settings
from pipeline.topology import Lane, LaneStatistics, Ports, run_lane
from pipeline.worker import Worker, WorkerStatistics, run_worker

__all__ = [
    "Answer",
    "Event",
    "Following",
    "Infrastructure",
    "Lane",
    "LaneStatistics",
    "Ports",
    "Setting",
    "Settings",
    "SettingsError",
    "Worker",
    "WorkerStatistics",
    "follow",
    "follow_all",
    "load_settings",
    "run_lane",
    "run_worker",
    "submit",
]
