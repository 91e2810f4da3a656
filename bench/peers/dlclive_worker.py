"""Runs in deeplabcut-live's own environment: one inference for each line on standard input, one line of JSON back.

``python dlclive_worker.py MODEL_FOLDER FRAMES.npy THREADS``. A line is the number of a frame; the answer holds ``ms``
and ``pose`` (K rows of x, y, likelihood). Only deeplabcut-live's public face is used. Nothing of Poseloop is imported.
"""

import json
import os
import sys
import time
import types


def main() -> None:
    """Load, warm up, then answer until standard input ends."""
    folder, frames_file, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    answers = os.fdopen(os.dup(1), "w")
    # What libraries print must not come between the answers.
    os.dup2(2, 1)
    try:
        import torch  # type: ignore[import-not-found]  # noqa: F401
    except ImportError:
        # Imported by the package's own benchmark module, and used for PyTorch models only.
        sys.modules["torch"] = types.ModuleType("torch")
    import numpy as np
    import tensorflow as tf
    from dlclive import DLCLive, __version__  # type: ignore[import-not-found]

    frames = np.load(frames_file, mmap_mode="r")
    frames = [np.ascontiguousarray(frame) for frame in frames]
    config = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=threads, inter_op_parallelism_threads=1)
    live = DLCLive(folder, model_type="base", tf_config=config, display=False, convert2rgb=False)
    live.init_inference(frames[0])
    for frame in frames[:5]:
        live.get_pose(frame)
    versions = {"deeplabcut-live": __version__, "tensorflow": tf.__version__, "numpy": np.__version__}
    answers.write(json.dumps({"versions": versions}) + "\n")
    answers.flush()
    for line in sys.stdin:
        frame = frames[int(line) % len(frames)]
        began = time.perf_counter_ns()
        pose = live.get_pose(frame)
        taken = time.perf_counter_ns() - began
        answers.write(json.dumps({"ms": taken / 1e6, "pose": np.asarray(pose, float).tolist()}) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
