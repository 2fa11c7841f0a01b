"""mesh: a task queue without a broker. ``from mesh import Mesh`` is where a program begins."""

from mesh.app import Mesh
from mesh.errors import (
    BodyTooLarge,
    DeliveriesExhausted,
    DiskLow,
    InvalidSetting,
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
    UnknownTask,
    UsageError,
)
from mesh.result import AsyncResult
from mesh.signature import Signature
from mesh.task import Task

__all__ = [
    "AsyncResult",
    "BodyTooLarge",
    "DeliveriesExhausted",
    "DiskLow",
    "InvalidSetting",
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
    "QueueFull",
    "ResultRemoved",
    "ResultTimeout",
    "Signature",
    "Task",
    "TaskDropped",
    "TaskError",
    "UnknownTask",
    "UsageError",
]
