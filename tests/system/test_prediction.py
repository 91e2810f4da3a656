"""A whole rig learns how long its board takes, and predicts poses for that time."""

import json
from pathlib import Path

from rigs import SIMULATED, poseloop, processes_in

PROTOCOL = '''
from poseloop.protocols import Protocol


class Pulses(Protocol):
    """Pulses often, and notes for when the poses were predicted."""

    outputs = ("box.laser",)

    def decide(self, pose, events):
        with open("ahead.txt", "a") as file:
            file.write(f"{pose.predicted_for_ns - pose.trace.published_ns}\\n")
        return (self.pulse("box.laser", 1),) if pose.index % 6 == 0 else ()
'''


def test_prediction_reaches_to_the_pin_once_its_latency_is_known(tmp_path: Path) -> None:
    (tmp_path / "task.py").write_text(PROTOCOL, encoding="utf-8")
    rig = tmp_path / "rig.toml"
    rig.write_text(
        '[filter]\nuse = "kalman-cv"\n' + SIMULATED.replace("name", "# name", 1) + 'use = "task.py:Pulses"\n'
    )
    done = poseloop("run", rig, "--seconds", 5, "--report", "r.json", "--headless", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert processes_in(tmp_path) == {}
    latency = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["latency_ms"]
    ahead_ms = [int(line) / 1e6 for line in (tmp_path / "ahead.txt").read_text(encoding="utf-8").split()]
    # At first nothing is known but the pose's own age; it is predicted for when it is published.
    assert ahead_ms[0] <= 0
    # Later it reaches beyond that, by what is left until the pin; how much, the host's own tests check to the number.
    last = sorted(ahead_ms[-60:])[30]
    assert 0 < last < latency["exposure_to_pin"]["max"]
