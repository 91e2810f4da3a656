"""Runs in sleap-nn's own environment: one inference for each line on standard input, one line of JSON back.

``python sleapnn_worker.py EXPORT_FOLDER FRAMES.npy THREADS``. A line is the number of a frame; the answer holds ``ms``
and ``pose`` (K rows of x, y, score). Only sleap-nn's public face is used, and of it the call that does least: the
layer's own, which its documentation names for real time. Nothing of Poseloop is imported.
"""

import functools
import json
import os
import sys
import time
from importlib.metadata import version


def main() -> None:
    """Load, warm up, then answer until standard input ends."""
    folder, frames_file, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    answers = os.fdopen(os.dup(1), "w")
    # What libraries print must not come between the answers.
    os.dup2(2, 1)
    import numpy as np
    import onnxruntime

    # sleap-nn leaves the number of threads to ONNX Runtime, which takes one for each physical core.
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    onnxruntime.InferenceSession = functools.partial(onnxruntime.InferenceSession, sess_options=options)
    from sleap_nn.inference import Predictor  # type: ignore[import-not-found]

    frames = list(np.load(frames_file))
    layer = Predictor.from_export_dir(folder, runtime="onnx", device="cpu").layer
    for frame in frames[:5]:
        layer.predict(frame)
    answers.write(json.dumps({"versions": {name: version(name) for name in ("sleap-nn", "onnxruntime", "torch")}}))
    answers.write("\n")
    answers.flush()
    for line in sys.stdin:
        frame = frames[int(line) % len(frames)]
        began = time.perf_counter_ns()
        found = layer.predict(frame)
        taken = time.perf_counter_ns() - began
        xy, score = found.pred_keypoints[0, 0].numpy(), found.pred_peak_values[0, 0].numpy()
        pose = np.concatenate([xy, score[:, None]], axis=1)
        answers.write(json.dumps({"ms": taken / 1e6, "pose": pose.tolist()}) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
