"""Runs in aniposelib's own environment: one triangulation for each line on standard input, one line of JSON back.

``python aniposelib_worker.py PROBLEM.json``. The problem holds the cameras and the views of every row; a line is
``fast NAME`` or ``ransac NAME``, and the answer holds ``us`` and ``xyz`` (N rows; none where nothing was found). Only
aniposelib's public face is used. Nothing of Poseloop is imported.
"""

import json
import os
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any


def main() -> None:
    """Load, then answer until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    # What libraries print must not come between the answers.
    os.dup2(2, 1)
    import numpy as np
    from aniposelib.cameras import Camera, CameraGroup

    problem = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    group = CameraGroup(
        [
            Camera(
                matrix=np.array(camera["matrix"]),
                dist=np.array(camera["distortion"]),
                size=camera["size"],
                rvec=np.array(camera["rotation_vector"]),
                tvec=np.array(camera["translation"]),
                name=camera["name"],
            )
            for camera in problem["cameras"]
        ]
    )
    views = {name: np.array(xy, float) for name, xy in problem["views"].items()}

    def found(mode: str, xy: Any) -> Any:
        if mode == "fast":
            return group.triangulate(xy, undistort=True, progress=False, fast=True)
        return group.triangulate_ransac(xy, progress=False)[0]

    def say(answer: Any) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    say({"versions": {name: version(name) for name in ("aniposelib", "numpy", "numba")}})
    for line in sys.stdin:
        mode, name = line.split()
        began = time.perf_counter_ns()
        xyz = found(mode, views[name])
        taken = time.perf_counter_ns() - began
        say({"us": taken / 1000, "xyz": [p if np.isfinite(p).all() else None for p in np.asarray(xyz).tolist()]})


if __name__ == "__main__":
    main()
