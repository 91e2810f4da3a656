"""Processors written for DeepLabCut-Live, run as they are."""

import os
import select
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from poseloop.live import plugins
from poseloop.live.errors import ConfigError
from poseloop.protocols import Rehearsal
from poseloop.protocols.dlclive_base import KalmanFilterPredictor

KEEPS = '''
from dlclive import Processor


class Keeps(Processor):
    """Keeps what it is shown."""

    def __init__(self, threshold=0.5, **kwargs):
        super().__init__(**kwargs)
        self.threshold = threshold
        self.shown = []

    def process(self, pose, **kwargs):
        self.shown.append((pose, kwargs))
        return pose

    def save(self, file=None):
        with open(file, "w") as out:
            out.write(str(len(self.shown)))
        return 1
'''

SERIAL = '''
import serial
from dlclive.processor.processor import Processor


class Laser(Processor):
    """Writes to a port of its own when the first keypoint is in a corner."""

    def __init__(self, com, baudrate=115200):
        super().__init__()
        self.ser = serial.Serial(com, baudrate)
        self.on = False

    def close_serial(self):
        self.ser.write(b"X")
        self.ser.close()

    def process(self, pose, **kwargs):
        inside = pose[0][0] < 100 and pose[0][1] < 100
        if inside != self.on:
            self.ser.write(b"O" if inside else b"X")
            self.on = inside
        return pose
'''

PREDICTS = """
from dlclive.processor import KalmanFilterPredictor, Processor


class Jump(Processor):
    def process(self, pose, **kwargs):
        self.last = pose
        return pose


class JumpAhead(KalmanFilterPredictor, Jump):
    def process(self, pose, **kwargs):
        return Jump.process(self, KalmanFilterPredictor.process(self, pose, **kwargs), **kwargs)
"""


def read(port: int, count: int) -> bytes:
    """So many bytes; a pseudo-terminal hands them on when it likes."""
    got = b""
    while len(got) < count and select.select([port], [], [], 2)[0]:
        got += os.read(port, count)
    return got


def load(folder: Path, source: str, name: str):
    (folder / "processor.py").write_text(source, encoding="utf-8")
    return plugins.load("protocol", f"dlclive:processor.py:{name}", folder)


def test_it_gets_poses_as_deeplabcut_live_gives_them(tmp_path: Path) -> None:
    protocol = load(tmp_path, KEEPS, "Keeps")
    task = Rehearsal(
        protocol, folder=tmp_path, model=["snout", "tail"], arguments={"threshold": 0.7}, save="saved.txt", fps=50
    )
    processor = task.protocol._processor
    assert processor.threshold == 0.7
    assert task.show(snout=(3, 4), tail=(5, 6), score=0.25) == []
    task.show(snout=(7, 8))
    (first, told), (second, later) = processor.shown
    assert first.dtype == np.float64
    assert first.tolist() == [[3, 4, 0.25], [5, 6, 0.25]], "the likelihood is for the processor to judge"
    assert second[0].tolist() == [7, 8, 1]
    assert np.isnan(second[1, :2]).all()
    assert second[1, 2] == 0
    assert told["record"] is True
    assert later["frame_time"] - told["frame_time"] == pytest.approx(0.02, abs=1e-6)
    # Wall-clock time, as time.time() tells, for poses on the host's clock.
    wall = told["frame_time"] - task.now_ns / 1e9 + 0.02
    assert wall == pytest.approx(time.time_ns() / 1e9 - time.perf_counter_ns() / 1e9, abs=5)
    task.protocol.close()
    task.protocol.close()
    assert (tmp_path / "saved.txt").read_text() == "2"


def test_rows_can_be_put_in_another_order(tmp_path: Path) -> None:
    task = Rehearsal(load(tmp_path, KEEPS, "Keeps"), model=["snout", "tail"], keypoints=["tail"])
    task.show(snout=(3, 4), tail=(5, 6))
    assert task.protocol._processor.shown[0][0].tolist() == [[5, 6, 1]]
    assert task.protocol.needs == ("tail",)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_serial_one_opens_its_own_port_and_gives_it_back(tmp_path: Path) -> None:
    import pty
    import tty

    master, slave = pty.openpty()
    tty.setraw(slave)
    try:
        task = Rehearsal(load(tmp_path, SERIAL, "Laser"), model=["snout"], arguments={"com": os.ttyname(slave)})
        for place in [(500, 500), (50, 50), (50, 50), None]:
            task.show(snout=place)
        assert read(master, 2) == b"OX", "an animal that is not seen is nowhere"
        port = task.protocol._processor.ser
        task.protocol.close()
        assert read(master, 1) == b"X"
        assert not port.is_open
    finally:
        os.close(slave)
        os.close(master)
    assert task.protocol.own_devices
    assert task.protocol.outputs == ()


def test_the_predictor_runs_ahead(tmp_path: Path) -> None:
    arguments = {"adapt": False, "forward": 0.05, "fps": 100, "dlc_var": 1}
    task = Rehearsal(load(tmp_path, PREDICTS, "JumpAhead"), model=["snout"], arguments=arguments)
    task.run({"snout": [(200.0 * i / 100, 50) for i in range(100)]})
    x, y, likelihood = task.protocol._processor.last[0]
    assert x == pytest.approx(200 * (0.99 + 0.05), abs=1.5)
    assert y == pytest.approx(50, abs=0.5)
    assert likelihood == 1


def test_the_predictor_passes_over_what_is_not_seen() -> None:
    predictor = KalmanFilterPredictor(adapt=False, forward=0.0, fps=100, dlc_var=1, lik_thresh=0.5)
    for i in range(200):
        seen = i < 50 or i % 5 > 1
        pose = np.array([[100 + i, 50, 0.9]]) if seen else np.array([[np.nan, np.nan, 0.0]])
        future = predictor.process(pose, frame_time=i / 100)
        assert np.isfinite(future[:, :2]).all()
    assert future[0, 0] == pytest.approx(299, abs=2)


def test_what_is_no_processor_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no process"):
        load(tmp_path, "class Other:\n    pass\n", "Other")
    with pytest.raises(ConfigError, match="there is no file"):
        plugins.load("protocol", "dlclive:missing.py:Other", tmp_path)
    with pytest.raises(ConfigError, match="'region' takes no class of a file"):
        plugins.load("protocol", "region:processor.py:Other", tmp_path)
    with pytest.raises(ConfigError, match=r"dlclive:path\.py:Class"):
        Rehearsal(plugins.load("protocol", "dlclive"))
