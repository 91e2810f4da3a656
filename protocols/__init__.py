"""Experiments: one file a kind, and the process that runs them (`host`)."""

from __future__ import annotations

from pydantic import Field

from poseloop.live.config import Settings
from poseloop.live.names import InputName, KeypointName, OutputName
from poseloop.protocols.base import Protocol
from poseloop.protocols.rehearse import Rehearsal
from poseloop.protocols.states import StateMachine
from poseloop.protocols.stimulus import Triggered

__all__ = [
    "Field",
    "InputName",
    "KeypointName",
    "OutputName",
    "Protocol",
    "Rehearsal",
    "Settings",
    "StateMachine",
    "Triggered",
]
