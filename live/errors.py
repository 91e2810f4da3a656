"""Every error that Poseloop raises on purpose.

::

    PoseloopError
      ConfigError            a rig file or a command-line value: file and key
        UnknownPlugin        nothing of that name is installed; lists what is
      DataError              labels, videos, sessions: file and row
      CalibrationError       camera models that are missing, broken or do not fit the rig
      ModelError             wrong file, wrong keypoints, provider not available
      DeviceError            a camera or board; carries its name
        ConnectError         could not be opened
        SettingRefused       opened, but took another value than asked for
        DeviceTimeout        did not answer in time
        DeviceLost           answered before, is gone now
      RigError               (ExceptionGroup) every device that failed at start, at once

A message says what was expected, what was found, and what to do. A dropped frame, a missing camera or a
missed deadline is no error: it is a value and a counter.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "CalibrationError",
    "ConfigError",
    "ConnectError",
    "DataError",
    "DeviceError",
    "DeviceLost",
    "DeviceTimeout",
    "ModelError",
    "PoseloopError",
    "RigError",
    "SettingRefused",
    "UnknownPlugin",
]


class PoseloopError(Exception):
    """Root of all errors that are meant for the user's eyes."""


class ConfigError(PoseloopError):
    """A rig file or command-line value is wrong; the message names file and key."""


class UnknownPlugin(ConfigError):
    """No plugin of that kind and name is installed."""

    def __init__(self, kind: str, name: str, installed: Sequence[str]) -> None:
        self.kind = kind
        self.name = name
        self.installed = tuple(installed)
        known = ", ".join(sorted(installed)) or "none"
        super().__init__(
            f"no {kind} is called {name!r}; installed: {known}. "
            f'A class of your own is named by its file: use = "my_file.py:MyClass"'
        )


class DataError(PoseloopError):
    """Labels, videos or sessions that cannot be used; the message names file and row."""


class CalibrationError(PoseloopError):
    """Camera models that are missing, broken or do not fit the rig."""


class ModelError(PoseloopError):
    """A model file, its keypoints, or the provider that should run it: ``what`` is wrong, and perhaps ``advice``."""

    def __init__(self, what: str, advice: str = "") -> None:
        self.what = what
        self.advice = advice
        super().__init__(f"{what}. {advice}" if advice else what)


class DeviceError(PoseloopError):
    """A camera or board. ``device`` is its name in the rig file."""

    def __init__(self, device: str, message: str) -> None:
        self.device = device
        super().__init__(f"{device}: {message}")


class ConnectError(DeviceError):
    """The device could not be opened."""


class SettingRefused(DeviceError):
    """The device was opened but reads back another value than it was given."""

    def __init__(self, device: str, setting: str, wanted: object, got: object, advice: str = "") -> None:
        self.setting = setting
        self.wanted = wanted
        self.got = got
        super().__init__(device, f"{setting}: expected {wanted!r}, but the device has {got!r}. {advice}".rstrip())


class DeviceTimeout(DeviceError):
    """The device did not answer in time."""


class DeviceLost(DeviceError):
    """The device answered before and is gone now."""


class RigError(ExceptionGroup[PoseloopError], PoseloopError):
    """All devices that failed while a rig was started, together, so that one attempt shows every fault."""

    def __str__(self) -> str:
        lines = "\n".join(f"  - {error}" for error in self.exceptions)
        return f"{self.message}:\n{lines}"

    def derive(self, excs: Sequence[PoseloopError]) -> RigError:  # type: ignore[override]
        """Keep the class when Python splits the group."""
        return RigError(self.message, excs)
