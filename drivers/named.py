"""What every camera driver answers in the same way."""

from __future__ import annotations

from poseloop.live.errors import ConnectError
from poseloop.live.types import CameraFormat

__all__ = ["NamedCamera"]


class NamedCamera:
    """Name and format of a camera; a driver adds the rest of `poseloop.live.interfaces.Camera`.

    It sets ``_format`` in ``open`` and takes it away in ``close``: a camera with a format is open.
    """

    def __init__(self, name: str) -> None:
        """Keep the name; touch no device."""
        self._name = name
        self._format: CameraFormat | None = None

    @property
    def name(self) -> str:
        """Name in the rig file."""
        return self._name

    @property
    def format(self) -> CameraFormat:
        """Size and colour of every frame.

        Raises:
            ConnectError: the camera is not open.
        """
        if self._format is None:
            raise ConnectError(self._name, "expected open() before its format is asked for")
        return self._format

    @property
    def finished(self) -> bool:
        """Never: a camera goes on."""
        return False
