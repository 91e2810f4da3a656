"""pypylon, imported when a camera is opened and not before; and settings that are read back."""

from __future__ import annotations

import warnings
from typing import Any

from poseloop.live.errors import ConnectError, SettingRefused

__all__ = ["Features", "load"]

_NEAR = 1e-3
"""Cameras hold times and gains as fixed-point numbers: a relative difference below this is the same value."""


def load(device: str) -> tuple[Any, Any]:
    """Return the modules ``pypylon.pylon`` and ``pypylon.genicam``.

    Raises:
        ConnectError: they are not installed here.
    """
    try:
        # SWIG's types give deprecation warnings while they are made; where warnings are errors, pypylon crashes on one.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            from pypylon import genicam, pylon
    except ImportError as error:
        raise ConnectError(
            device, f'Basler cameras need pypylon, which cannot be imported ({error}): pip install "poseloop[basler]"'
        ) from error
    return pylon, genicam


class Features:
    """A camera's settings by their GenICam names.

    The same setting has other names on other generations of cameras (``ExposureTimeAbs`` on older GigE ones), so
    wherever a name is asked for, several may be given: the first that this camera has is meant.
    """

    def __init__(self, device: str, genicam: Any, nodes: Any) -> None:
        """Keep the camera's name in the rig file and its opened node map."""
        self._device = device
        self._genicam = genicam
        self._nodes = nodes

    def node(self, name: str) -> Any:
        """The node of that name, whether or not it is available now."""
        return self._nodes.GetNode(name)

    def readable(self, node: Any) -> bool:
        """Tell whether it has a value now."""
        return bool(self._genicam.IsReadable(node))

    def find(self, *names: str) -> Any | None:
        """The setting's node, or None where this camera has no such thing (now)."""
        for name in names:
            try:
                node = self._nodes.GetNode(name)
                if node is not None and self._genicam.IsAvailable(node):
                    return node
            except self._genicam.GenericException:
                continue
        return None

    def get(self, *names: str) -> Any | None:
        """Its value; None where the camera has no such thing, or does not tell."""
        node = self.find(*names)
        return node.Value if node is not None and self.readable(node) else None

    def set(self, setting: str, wanted: float | str | bool, *names: str) -> None:
        """Set a value and read it back.

        Args:
            setting: the key of the rig file, for the message.
            wanted: what the device should hold.
            names: of the node.

        Raises:
            SettingRefused: the camera lacks the setting, refuses the value, or holds another one afterwards.
        """
        node = self.find(*names)
        if node is None:
            raise SettingRefused(self._device, setting, wanted, "no such setting", f"It has no {' or '.join(names)}.")
        try:
            node.Value = int(wanted) if self._whole(node, wanted) else wanted
        except (self._genicam.GenericException, TypeError) as error:
            raise SettingRefused(self._device, setting, wanted, self._read(node), self._range(node)) from error
        got = self._read(node)
        if isinstance(wanted, str | bool) or not isinstance(got, int | float):
            same = got == wanted
        else:
            same = abs(got - wanted) <= _NEAR * abs(wanted)
        if not same:
            raise SettingRefused(self._device, setting, wanted, got, self._range(node))

    def set_if_there(self, wanted: float | str | bool, *names: str) -> None:
        """Like `set`, for what only some cameras have and the others need not be told."""
        if self.find(*names) is not None:
            self.set(names[0], wanted, *names)

    def _read(self, node: Any) -> Any:
        return node.Value if self.readable(node) else "a value that cannot be read"

    def _whole(self, node: Any, wanted: float | str | bool) -> bool:
        return isinstance(wanted, float) and wanted.is_integer() and isinstance(self._read(node), int)

    def _range(self, node: Any) -> str:
        try:
            if not self._genicam.IsWritable(node):
                return "It cannot be changed now."
            if hasattr(node, "Symbolics"):
                return f"It takes {', '.join(node.Symbolics)}."
            if hasattr(node, "Min"):
                step = f" in steps of {node.Inc}" if isinstance(node.Value, int) else ""
                return f"It takes {node.Min:g} to {node.Max:g}{step}."
        except self._genicam.GenericException:
            pass
        return ""
