"""What a Basler camera is told before it grabs: region, pixels, exposure, gain, rate and trigger, all read back."""

from __future__ import annotations

import contextlib
from typing import Any

from poseloop.drivers.pixels import COLOURS, PIXELS
from poseloop.drivers.pylon.sdk import Features
from poseloop.live.errors import ConnectError, SettingRefused
from poseloop.live.types import Region

__all__ = ["load_factory_settings", "possible_rate", "rate", "region", "set_picture", "set_trigger"]

_EDGES = {"rising": "RisingEdge", "falling": "FallingEdge"}


def load_factory_settings(features: Features) -> None:
    """Undo what another program left in the camera."""
    features.set_if_there("Default", "UserSetSelector")
    if (load := features.find("UserSetLoad")) is not None:
        load.Execute()


def set_picture(device: str, settings: Any, features: Features) -> None:
    """Set pixel format, region, exposure and gain.

    Args:
        device: the camera's name in the rig file.
        settings: `BaslerCamera.Settings`.
        features: of the opened camera.

    Raises:
        SettingRefused: the camera does not take a value.
    """
    _set_pixels(device, settings.pixel_format, features)
    region = {
        "Width": ("width", settings.width),
        "Height": ("height", settings.height),
        "OffsetX": ("offset_x", settings.offset_x),
        "OffsetY": ("offset_y", settings.offset_y),
    }
    if any(value is not None for _, value in region.values()):
        # The region must fit into the sensor at every step.
        features.set_if_there(0, "OffsetX")
        features.set_if_there(0, "OffsetY")
    for node, (key, value) in region.items():
        if value is not None:
            features.set(key, value, node)
    for key, value, auto, nodes in (
        # Older GigE cameras call it Abs, and the emulated ones, which have both, obey that one.
        ("exposure_us", settings.exposure_us, "ExposureAuto", ("ExposureTimeAbs", "ExposureTime")),
        ("gain", settings.gain, "GainAuto", ("Gain", "GainRaw")),
    ):
        if value == "auto":
            features.set(key, "Continuous", auto)
        elif value is not None:
            features.set_if_there("Off", auto)
            features.set(key, value, *nodes)


def _set_pixels(device: str, wanted: str | None, features: Features) -> None:
    if wanted is None:
        got = features.get("PixelFormat")
        if got not in COLOURS:
            raise SettingRefused(device, "pixel_format", "a format of 8 bits", got, f"Give one of {', '.join(PIXELS)}.")
        return
    last: SettingRefused | None = None
    for name in PIXELS[wanted]:
        try:
            features.set("pixel_format", name, "PixelFormat")
            return
        except SettingRefused as refused:
            last = refused
    raise SettingRefused(device, "pixel_format", wanted, features.get("PixelFormat")) from last


def rate(features: Features) -> float:
    """Frames a second that the camera can deliver as it is set now; 0 = it does not say."""
    return float(features.get("ResultingFrameRateAbs", "ResultingFrameRate", "BslResultingAcquisitionFrameRate") or 0.0)


def possible_rate(features: Features) -> float:
    """Frames a second that it could deliver for pulses, which its own rate does not hold back; 0 = it does not say."""
    own = "AcquisitionFrameRateEnable"
    if not features.get(own):
        return rate(features)
    try:
        features.set_if_there(False, own)
    except SettingRefused:
        # Some cameras do not let it be changed now; then their own rate is what they tell.
        return rate(features)
    try:
        return rate(features)
    finally:
        features.set_if_there(True, own)


def region(features: Features) -> Region:
    """Where the pictures lie on the sensor."""
    left, top = (int(features.get(name) or 0) for name in ("OffsetX", "OffsetY"))
    across, down = (int(features.get(name) or 1) for name in ("BinningHorizontal", "BinningVertical"))
    return Region(left, top, across, down)


def set_trigger(device: str, settings: Any, features: Features, trigger: str) -> None:
    """Set what starts an exposure, and the rate.

    Args:
        device: the camera's name in the rig file.
        settings: `BaslerCamera.Settings`.
        features: of the opened camera.
        trigger: ``free``, ``hardware`` or ``software``.

    Raises:
        ConnectError: a software trigger needs ``fps``.
        SettingRefused: the camera cannot be triggered like this, or not as fast as ``fps``.
    """
    fps = settings.fps
    if trigger == "software" and fps is None:
        raise ConnectError(device, "expected fps in the rig file: how often the software triggers")
    selector = features.find("TriggerSelector")
    for which in () if selector is None else selector.Symbolics:
        with contextlib.suppress(SettingRefused):
            features.set("trigger", which, "TriggerSelector")
            features.set_if_there("Off", "TriggerMode")
    if fps is not None:
        features.set_if_there(True, "AcquisitionFrameRateEnable")
        features.set("fps", fps, "AcquisitionFrameRateAbs", "AcquisitionFrameRate")
    if trigger != "free":
        # A camera's own rate would hold back pulses that come a little early.
        features.set_if_there(False, "AcquisitionFrameRateEnable")
        features.set("trigger", "FrameStart", "TriggerSelector")
        features.set("trigger", "On", "TriggerMode")
        if trigger == "hardware":
            features.set("line", settings.line, "TriggerSource")
            features.set("edge", _EDGES[settings.edge], "TriggerActivation")
        else:
            features.set("trigger", "Software", "TriggerSource")
    possible = rate(features)
    if fps is not None and 0 < possible < fps * 0.999:
        raise SettingRefused(
            device, "fps", fps, round(possible, 2), "Shorten the exposure, make the region smaller, or lower fps."
        )
