"""Experiments: one file a kind, and the process that runs them (`host`)."""

from __future__ import annotations

from poseloop.protocols.base import Protocol

__all__ = ["Protocol"]
