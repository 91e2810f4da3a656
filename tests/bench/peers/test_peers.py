"""The benchmarks beside deeplabcut-live run from command line to report, with a stand-in for its package.

The stand-in has the package's public face, and runs the frozen graph that it is given, as the package does.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from poseloop.bench.peers.environments import python_of
from poseloop.live.vision import Network

FACE = '''
import numpy as np

__version__ = "0"


class DLCLive:
    """Loads ``snapshot.pb`` of a folder: the first operation is the picture, the last one (K, 3) y, x, likelihood."""

    def __init__(self, folder, model_type, tf_config, display, convert2rgb):
        import tensorflow.compat.v1 as tf

        definition = tf.GraphDef()
        with open(f"{folder}/snapshot.pb", "rb") as file:
            definition.ParseFromString(file.read())
        with tf.Graph().as_default() as graph:
            tf.import_graph_def(definition, name="DLC")
        operations = graph.get_operations()
        self._in, self._out = operations[0].outputs[0], operations[-1].outputs[0]
        self._session = tf.Session(graph=graph, config=tf_config)

    def init_inference(self, frame):
        return self.get_pose(frame)

    def get_pose(self, frame):
        return self._session.run(self._out, {self._in: frame[None]})[:, [1, 0, 2]]
'''

KALMAN = """
class KalmanFilterPredictor:
    def __init__(self, adapt, forward, fps):
        pass

    def process(self, pose, frame_time):
        return pose
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Return what makes this Python the peer's."""
    package = tmp_path / "peer" / "dlclive"
    (package / "processor").mkdir(parents=True)
    (package / "__init__.py").write_text(FACE, encoding="utf-8")
    (package / "processor" / "__init__.py").touch()
    (package / "processor" / "kalmanfilter.py").write_text(KALMAN, encoding="utf-8")
    return {**os.environ, "PYTHONPATH": str(tmp_path / "peer")}


def bench(folder: Path, environment: dict[str, str], name: str, *words: object) -> dict[str, Any]:
    command = (sys.executable, "-m", "poseloop.live.cli", "bench", name, "--short", "--report", "report.json")
    own = ("--python", sys.executable, *words)
    done = subprocess.run(
        [*command, *map(str, own)], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report: dict[str, Any] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return report


def test_kalman(tmp_path: Path, environment: dict[str, str]) -> None:
    rows = bench(tmp_path, environment, "peers.kalman")["rows"]
    assert [row["keypoints"] for row in rows] == [8, 20, 40]
    assert all(row["ms"]["deeplabcut-live"]["n"] == 3 for row in rows)


@pytest.mark.tensorflow
def test_the_same_network_in_both(data: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    from poseloop.train.fit import Plan, Trainer
    from poseloop.train.model import Architecture

    checkpoint = tmp_path / "run.checkpoint.npz"
    points = len(Network.describe("openfield").keypoints)
    Trainer(Architecture(), points, Plan(steps=1), None, {}, checkpoint).save()
    video = data / "dlc_openfield" / "videos" / "m3v1mp4.mp4"
    report = bench(tmp_path, environment, "peers.dlclive", "--checkpoint", checkpoint, "--video", video)
    (same,), (best,) = report["same"], report["best"]
    # Whether the points are the same is test_graphs.py's: a network that has learned nothing is sure of none.
    for row in (same, best):
        assert row["picture"] == [115, 87]
        assert all(faster["ratio"] > 0 for faster in row["times_faster"].values())


def test_an_environment_that_is_there_is_told(tmp_path: Path) -> None:
    python = python_of(tmp_path / "dlclive")
    python.parent.mkdir(parents=True)
    python.touch()
    command = (sys.executable, "-m", "poseloop.live.cli", "bench", "peers.environments", "--short", "dlclive", tmp_path)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, str(python)), done.stderr
