"""Workflows from signatures, in Celery's terms: ``group``, ``chain``, ``chord``, ``xmap``, ``xstarmap``, ``chunks``."""

from mesh.canvas.chain import Chain as chain
from mesh.canvas.chord import Chord as chord
from mesh.canvas.forms import maybe_signature, signature, subtask
from mesh.canvas.group import Group as group
from mesh.canvas.maps import Chunks as chunks
from mesh.canvas.maps import XMap as xmap
from mesh.canvas.maps import XStarmap as xstarmap
from mesh.step import Step

TaskSet = group
"""Celery's old name of a group."""

__all__ = ["Step", "TaskSet", "chain", "chord", "chunks", "group", "maybe_signature", "signature", "subtask", "xmap", "xstarmap"]
