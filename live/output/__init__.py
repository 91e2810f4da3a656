"""What leaves the engine: messages (`wire`), sockets (`publish`), the report (`report`)."""

from __future__ import annotations

from poseloop.live.output.publish import Subscriber

__all__ = ["Subscriber"]
