"""The stages of storycast: six actors, the messages between them, and the policies that drive them.

Pure: no NATS, no WhatsApp, no files, no wall clock. Written on anyio, so each stage runs on Trio and on
asyncio, alone in a system of your own or joined as `pipeline.topology` joins them.
"""

from stages.anchor import Anchor, AnchorStatistics
from stages.checkpoint import Checkpoint, JobStore, MemoryJobs
from stages.control import Control
from stages.controller import Controller, ControllerStatistics
from stages.delivery import Limits, Sender
from stages.engine import Capabilities, Engine, EngineStatus, Receipt
from stages.errors import (
    AccountRestricted,
    BadRequest,
    ContentRefused,
    ControlRefused,
    EngineFailure,
    NotFinished,
    OutcomeUnknown,
    RateLimited,
    RecipientsRejected,
    SessionLost,
    StoreFailed,
    StorycastError,
    Superseded,
    TooLarge,
    Unavailable,
)
from stages.flow import (
    Batch,
    BatchResult,
    BatchSettled,
    Delivery,
    Feedback,
    Held,
    Onward,
    Outgoing,
    Paused,
    Postponed,
    Refused,
    Repeated,
    Reported,
    Skipped,
    Standing,
    Story,
    StoryClosed,
    StoryOpened,
    StoryParked,
)
from stages.history import History, HistoryStore, MemoryHistories
from stages.ingest import Ingest, IngestStatistics, InHand
from stages.lists import MemoryLists, RecipientLists, gather
from stages.message_id import message_id_of
from stages.messages import (
    Alert,
    Image,
    ProgressEvent,
    Recipient,
    Rejection,
    Report,
    Scaling,
    SendRequest,
    SmartSendConfig,
    StoryStatus,
    Text,
    Video,
    Voice,
)
from stages.options import SmartSend
from stages.pacing import Pacer, PacerStatistics
from stages.people import People
from stages.planner import Planner, PlannerStatistics
from stages.policies import Adaptive, Fixed, Progressive, Tiered, policy_for
from stages.policy import Decision, Policy, Sample
from stages.reporter import Reporter, ReporterStatistics
from stages.resend import Resend, ResendStatistics
from stages.waiting import open_line

__all__ = [
    "AccountRestricted",
    "Adaptive",
    "Alert",
    "Anchor",
    "AnchorStatistics",
    "BadRequest",
    "Batch",
    "BatchResult",
    "BatchSettled",
    "Capabilities",
    "Checkpoint",
    "ContentRefused",
    "Control",
    "ControlRefused",
    "Controller",
    "ControllerStatistics",
    "Decision",
    "Delivery",
    "Engine",
    "EngineFailure",
    "EngineStatus",
    "Feedback",
    "Fixed",
    "Held",
    "History",
    "HistoryStore",
    "Image",
    "InHand",
    "Ingest",
    "IngestStatistics",
    "JobStore",
    "Limits",
    "MemoryHistories",
    "MemoryJobs",
    "MemoryLists",
    "MemoryReports",
    "NotFinished",
    "Onward",
    "OutcomeUnknown",
    "Outgoing",
    "Pacer",
    "PacerStatistics",
    "Paused",
    "People",
    "Planner",
    "PlannerStatistics",
    "Policy",
    "Postponed",
    "ProgressEvent",
    "Progressive",
    "RateLimited",
    "Receipt",
    "Recipient",
    "RecipientLists",
    "RecipientsRejected",
    "Refused",
    "Rejection",
    "Repeated",
    "Report",
    "Reported",
    "Reporter",
    "ReporterStatistics",
    "Resend",
    "ResendStatistics",
    "Sample",
    "Scaling",
    "SendRequest",
    "Sender",
    "SessionLost",
    "Skipped",
    "SmartSend",
    "SmartSendConfig",
    "Standing",
    "StoreFailed",
    "Story",
    "StoryClosed",
    "StoryOpened",
    "StoryParked",
    "StoryStatus",
    "StorycastError",
    "Superseded",
    "Text",
    "Tiered",
    "TooLarge",
    "Unavailable",
    "Video",
    "Voice",
    "gather",
    "message_id_of",
    "open_line",
    "policy_for",
]
