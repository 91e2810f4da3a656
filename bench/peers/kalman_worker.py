"""Runs in deeplabcut-live's own environment: one step of its Kalman predictor for each line on standard input.

``python kalman_worker.py POINTS``. The answer holds ``ms``. Nothing of Poseloop is imported.
"""

import json
import os
import sys
import time
import types


def main() -> None:
    """Warm up, then answer until standard input ends."""
    points = int(sys.argv[1])
    answers = os.fdopen(os.dup(1), "w")
    # What libraries print must not come between the answers.
    os.dup2(2, 1)
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    try:
        import torch  # type: ignore[import-not-found]  # noqa: F401
    except ImportError:
        # Imported by the package's own benchmark module, and used for PyTorch models only.
        sys.modules["torch"] = types.ModuleType("torch")
    import numpy as np
    from dlclive import __version__  # type: ignore[import-not-found]
    from dlclive.processor.kalmanfilter import KalmanFilterPredictor  # type: ignore[import-not-found]

    random = np.random.default_rng(0)
    poses = np.concatenate([random.normal(100, 1, (64, points, 2)), np.ones((64, points, 1))], axis=2)
    predictor = KalmanFilterPredictor(adapt=False, forward=0.02, fps=100)
    for pose in poses[:8]:
        predictor.process(pose, frame_time=time.time_ns() / 1e9)
    answers.write(json.dumps({"versions": {"deeplabcut-live": __version__, "numpy": np.__version__}}) + "\n")
    answers.flush()
    for line in sys.stdin:
        pose = poses[int(line) % len(poses)]
        began = time.perf_counter_ns()
        predictor.process(pose, frame_time=time.time_ns() / 1e9)
        taken = time.perf_counter_ns() - began
        answers.write(json.dumps({"ms": taken / 1e6}) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
