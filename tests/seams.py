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
from poseloop.protocols import Protocol, StateMachine
from poseloop.protocols.dlclive import Dlclive
from poseloop.protocols.heading import Heading
from poseloop.protocols.inputs import Input
from poseloop.protocols.phase import Phase
from poseloop.protocols.posture import Posture
from poseloop.protocols.region import Region
from poseloop.protocols.schedule import Schedule
from poseloop.protocols.sequence import Sequence
from poseloop.protocols.sham import Sham
from poseloop.protocols.speed import Speed
from poseloop.protocols.yoked import Yoked

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
experiments: list[Experiment] = [
    Protocol("base", settings),
    StateMachine("states", settings),
    Dlclive("dlclive", settings),
    Heading("heading", settings),
    Input("input", settings),
    Phase("phase", settings),
    Posture("posture", settings),
    Region("region", settings),
    Schedule("schedule", settings),
    Sequence("sequence", settings),
    Sham("sham", settings),
    Speed("speed", settings),
    Yoked("yoked", settings),
]
runtimes: list[Runtime] = [OnnxRuntime(Path("model.onnx"), "cpu", 1)]
