"""The functions of the C library Aravis (0.8) that the driver calls, with their types; loaded when a camera is opened.

Called directly, so that nothing has to be compiled against GObject introspection. While a call waits, Python's global
lock is free.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Iterator
from ctypes import POINTER, byref, c_char_p, c_double, c_int, c_size_t, c_uint, c_uint64, c_void_p
from dataclasses import dataclass
from typing import Any

from poseloop.live.errors import ConnectError

__all__ = ["SUCCESS", "Aravis", "AravisError", "Found"]

_NAMES = ("aravis-0.8", "libaravis-0.8-0")
"""As Linux and macOS look it up, and as Windows does."""

SUCCESS = 0
"""Status of a buffer whose pixels are all there."""

_CAMERA, _STREAM, _BUFFER, _DEVICE = (c_void_p,) * 4
_ERROR = POINTER(c_void_p)
_INT, _DOUBLE = POINTER(c_int), POINTER(c_double)

# Result and arguments; a trailing _ERROR is filled by `Aravis.call`.
_FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "arv_update_device_list": (None, ()),
    "arv_get_n_devices": (c_uint, ()),
    "arv_get_device_id": (c_char_p, (c_uint,)),
    "arv_get_device_serial_nbr": (c_char_p, (c_uint,)),
    "arv_get_device_vendor": (c_char_p, (c_uint,)),
    "arv_get_device_model": (c_char_p, (c_uint,)),
    "arv_get_device_protocol": (c_char_p, (c_uint,)),
    "arv_camera_new": (_CAMERA, (c_char_p, _ERROR)),
    "arv_camera_get_device": (_DEVICE, (_CAMERA,)),
    "arv_camera_is_gv_device": (c_int, (_CAMERA,)),
    "arv_gv_device_is_controller": (c_int, (_DEVICE,)),
    "arv_camera_gv_set_stream_options": (None, (_CAMERA, c_int)),
    "arv_camera_gv_set_packet_size": (None, (_CAMERA, c_int, _ERROR)),
    "arv_camera_set_region": (None, (_CAMERA, c_int, c_int, c_int, c_int, _ERROR)),
    "arv_camera_get_binning": (None, (_CAMERA, _INT, _INT, _ERROR)),
    "arv_camera_get_region": (None, (_CAMERA, _INT, _INT, _INT, _INT, _ERROR)),
    "arv_camera_get_sensor_size": (None, (_CAMERA, _INT, _INT, _ERROR)),
    "arv_camera_set_pixel_format_from_string": (None, (_CAMERA, c_char_p, _ERROR)),
    "arv_camera_get_pixel_format_as_string": (c_char_p, (_CAMERA, _ERROR)),
    "arv_camera_set_exposure_time": (None, (_CAMERA, c_double, _ERROR)),
    "arv_camera_get_exposure_time": (c_double, (_CAMERA, _ERROR)),
    "arv_camera_set_gain": (None, (_CAMERA, c_double, _ERROR)),
    "arv_camera_get_gain": (c_double, (_CAMERA, _ERROR)),
    "arv_camera_set_frame_rate": (None, (_CAMERA, c_double, _ERROR)),
    "arv_camera_get_frame_rate": (c_double, (_CAMERA, _ERROR)),
    "arv_camera_clear_triggers": (None, (_CAMERA, _ERROR)),
    "arv_camera_set_trigger": (None, (_CAMERA, c_char_p, _ERROR)),
    "arv_camera_set_string": (None, (_CAMERA, c_char_p, c_char_p, _ERROR)),
    "arv_camera_get_string": (c_char_p, (_CAMERA, c_char_p, _ERROR)),
    "arv_camera_get_payload": (c_uint, (_CAMERA, _ERROR)),
    "arv_camera_create_stream": (_STREAM, (_CAMERA, c_void_p, c_void_p, _ERROR)),
    "arv_camera_start_acquisition": (None, (_CAMERA, _ERROR)),
    "arv_camera_stop_acquisition": (None, (_CAMERA, _ERROR)),
    "arv_buffer_new_allocate": (_BUFFER, (c_size_t,)),
    "arv_stream_push_buffer": (None, (_STREAM, _BUFFER)),
    "arv_stream_timeout_pop_buffer": (_BUFFER, (_STREAM, c_uint64)),
    "arv_stream_get_n_buffers": (None, (_STREAM, _INT, _INT)),
    "arv_buffer_get_status": (c_int, (_BUFFER,)),
    "arv_buffer_get_frame_id": (c_uint64, (_BUFFER,)),
    "arv_buffer_get_timestamp": (c_uint64, (_BUFFER,)),
    "arv_buffer_get_data": (c_void_p, (_BUFFER, POINTER(c_size_t))),
    "g_object_unref": (None, (c_void_p,)),
    "g_error_free": (None, (c_void_p,)),
}

_SOCKET_BUFFER_FIXED = 0


class AravisError(Exception):
    """What the library says went wrong."""


class _GError(ctypes.Structure):
    _fields_ = (("domain", ctypes.c_uint32), ("code", c_int), ("message", c_char_p))


@dataclass(frozen=True, slots=True)
class Found:
    """A camera on the network or the bus."""

    identity: bytes
    """What `arv_camera_new` wants."""
    serial: str
    model: str
    """Maker and model."""
    protocol: str


class Aravis:
    """The loaded library."""

    def __init__(self, device: str) -> None:
        """Load it.

        Raises:
            ConnectError: it is not installed here.
        """
        name = next(filter(None, map(ctypes.util.find_library, _NAMES)), None)
        if name is None:
            raise ConnectError(
                device,
                "GenICam cameras need the library Aravis 0.8, which is not installed: "
                "apt install libaravis-0.8-0 (Debian, Ubuntu), or brew install aravis (macOS)",
            )
        self._library = ctypes.CDLL(name)
        for function, (result, arguments) in _FUNCTIONS.items():
            entry = getattr(self._library, function)
            entry.restype, entry.argtypes = result, arguments

    def call(self, function: str, *arguments: Any) -> Any:
        """Call a function by its name.

        Raises:
            AravisError: it reports an error.
        """
        entry = getattr(self._library, function)
        if _FUNCTIONS[function][1][-1:] != (_ERROR,):
            return entry(*arguments)
        error = c_void_p()
        result = entry(*arguments, byref(error))
        if error.value:
            message = ctypes.cast(error, POINTER(_GError)).contents.message
            self._library.g_error_free(error)
            raise AravisError(message.decode(errors="replace") if message else f"{function} failed")
        return result

    def numbers(self, function: str, camera: int, count: int) -> list[int]:
        """Call a function that writes ``count`` integers."""
        values = [c_int() for _ in range(count)]
        self.call(function, camera, *map(byref, values))
        return [value.value for value in values]

    def widen_socket(self, stream: int, size: int) -> None:
        """Give a network stream a receive buffer of ``size`` bytes: the system's usual one holds less than a frame."""
        self._library.g_object_set(
            c_void_p(stream),
            b"socket-buffer",
            c_int(_SOCKET_BUFFER_FIXED),
            b"socket-buffer-size",
            c_int(size),
            c_void_p(None),
        )

    def cameras(self) -> Iterator[Found]:
        """Look for cameras; takes a second for the answers from the network."""
        self.call("arv_update_device_list")
        for i in range(self.call("arv_get_n_devices")):
            texts = {
                part: (self.call(f"arv_get_device_{part}", i) or b"").decode(errors="replace")
                for part in ("serial_nbr", "vendor", "model", "protocol")
            }
            yield Found(
                bytes(self.call("arv_get_device_id", i)),
                texts["serial_nbr"],
                f"{texts['vendor']} {texts['model']}",
                texts["protocol"],
            )
