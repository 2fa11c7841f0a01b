"""mesh: a task queue without a broker. ``from mesh import Mesh`` is where a program begins."""

from mesh.app import Mesh
from mesh.errors import (
    BodyTooLarge,
    Closed,
    DeclaredOtherwise,
    DeliveriesExhausted,
    DiskLow,
    InUse,
    InvalidSetting,
    InvalidTopology,
    MeshBusy,
    MeshError,
    MeshNotFound,
    NotAccepted,
    NotAllowed,
    NotEncodable,
    NotEnoughCopies,
    PublishError,
    PublishUnknown,
    QueueFull,
    ResultRemoved,
    ResultTimeout,
    TaskDropped,
    TaskError,
    TaskExpired,
    UnknownTask,
    Unroutable,
    UsageError,
)
from mesh.messaging.connection import Connection, connect
from mesh.messaging.exchange import Binding, Exchange
from mesh.messaging.hotqueue import HotQueue
from mesh.messaging.queue import Queue
from mesh.result import AsyncResult
from mesh.signature import Signature
from mesh.task import Task

__all__ = [
    "AsyncResult",
    "Binding",
    "BodyTooLarge",
    "Closed",
    "Connection",
    "DeclaredOtherwise",
    "DeliveriesExhausted",
    "DiskLow",
    "Exchange",
    "HotQueue",
    "InUse",
    "InvalidSetting",
    "InvalidTopology",
    "Mesh",
    "MeshBusy",
    "MeshError",
    "MeshNotFound",
    "NotAccepted",
    "NotAllowed",
    "NotEncodable",
    "NotEnoughCopies",
    "PublishError",
    "PublishUnknown",
    "Queue",
    "QueueFull",
    "ResultRemoved",
    "ResultTimeout",
    "Signature",
    "Task",
    "TaskDropped",
    "TaskError",
    "TaskExpired",
    "UnknownTask",
    "Unroutable",
    "UsageError",
    "connect",
]
