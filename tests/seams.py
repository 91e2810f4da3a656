"""Every plugin of ours beside its seam: mypy reads this file (`test_quality.py`), nothing runs it."""

from pathlib import Path
from typing import Any

from poseloop.drivers.arduino.board import ArduinoBoard
from poseloop.drivers.genicam.camera import GenicamCamera
from poseloop.drivers.message.osc import OscBoard
from poseloop.drivers.message.zeromq import ZeromqBoard
from poseloop.drivers.nidaq.board import NidaqBoard
from poseloop.drivers.opencv.camera import OpenCVCamera
from poseloop.drivers.openephys.board import OpenEphysBoard
from poseloop.drivers.pylon.camera import BaslerCamera
from poseloop.drivers.replay.camera import ReplayCamera
from poseloop.drivers.serial_bytes.board import SerialBytesBoard
from poseloop.drivers.sim.board import SimulatedBoard
from poseloop.drivers.sim.camera import SimulatedCamera
from poseloop.drivers.teensy.board import TeensyBoard
from poseloop.live.interfaces import Board, Camera, Experiment, Runtime
from poseloop.live.vision.ort import OnnxRuntime
from poseloop.protocols.region import Region

settings: Any = None
cameras: list[Camera] = [
    SimulatedCamera("sim", settings),
    ReplayCamera("replay", settings),
    BaslerCamera("pylon", settings),
    OpenCVCamera("opencv", settings),
    GenicamCamera("genicam", settings),
]
boards: list[Board] = [
    SimulatedBoard("sim", settings),
    ArduinoBoard("arduino", settings),
    SerialBytesBoard("serial", settings),
    TeensyBoard("teensy", settings),
    OpenEphysBoard("openephys", settings),
    OscBoard("osc", settings),
    ZeromqBoard("zeromq", settings),
    NidaqBoard("nidaq", settings),
]
experiments: list[Experiment] = [Region("region", settings)]
runtimes: list[Runtime] = [OnnxRuntime(Path("model.onnx"), "cpu", 1)]
