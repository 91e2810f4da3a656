"""The two bases that DeepLabCut-Live's processors inherit from, for where that package is not installed."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["KalmanFilterPredictor", "Processor"]

_Float64 = npt.NDArray[np.float64]


class Processor:
    """Does nothing with a pose."""

    def __init__(self, **kwargs: Any) -> None:
        pass

    def process(self, pose: _Float64, **kwargs: Any) -> _Float64:
        """Look at a pose (K, 3) of x, y and likelihood; returns the pose, or another one."""
        return pose

    def save(self, file: str = "") -> Any:
        """Write what was collected."""
        return 0


class KalmanFilterPredictor(Processor):
    """Predicts the pose with a Kalman filter of our own that takes DeepLabCut-Live's arguments.

    Each coordinate has a filter: position and ``nderiv`` derivatives, of which the highest drifts. Numbers differ from
    DeepLabCut-Live's, whose filter also takes differences of positions for measurements of the derivatives.
    """

    def __init__(
        self,
        adapt: bool = True,
        forward: float = 0.002,
        fps: float = 30,
        nderiv: int = 2,
        priors: Sequence[float] = (10, 10),
        initial_var: float = 5,
        process_var: float = 5,
        dlc_var: float = 20,
        lik_thresh: float = 0,
        **kwargs: Any,
    ) -> None:
        """Keep the settings.

        Args:
            adapt: predict for now + ``forward``, from ``frame_time``; false: for ``forward`` after the frame.
            forward: seconds.
            fps: frames a second, where ``frame_time`` does not tell the interval.
            nderiv: number of derivatives.
            priors: standard deviation of each derivative before anything was seen, px/s, px/s², …
            initial_var: variance of the first position, px².
            process_var: variance of what moves the position in a frame beyond its derivatives, px².
            dlc_var: variance of a measured position, px².
            lik_thresh: a point with a lower likelihood was not measured.
            kwargs: for the next class of several.
        """
        super().__init__(**kwargs)
        self.adapt, self.forward, self.dt, self.nderiv = adapt, forward, 1 / fps, nderiv
        spread = [initial_var, *(prior**2 for prior in priors)]
        self._start = np.diag((spread + [spread[-1]] * nderiv)[: nderiv + 1])
        # Noise that is constant over a frame, in the derivative after which the motion is cut off.
        noise = np.array([math.factorial(nderiv) / math.factorial(nderiv - k) * fps**k for k in range(nderiv + 1)])
        self._drift = np.outer(noise, noise) * process_var
        self.dlc_var, self.lik_thresh = dlc_var, lik_thresh
        self._state: _Float64 | None = None
        self._time = 0.0

    def process(self, pose: _Float64, **kwargs: Any) -> _Float64:
        """The pose (K, 3) at the time to come; the likelihoods stay as they are."""
        at = float(kwargs.get("frame_time", self._time + self.dt))
        seen = np.repeat(pose[:, 2] >= self.lik_thresh, 2) & np.isfinite(pose[:, :2]).ravel()
        measured = pose[:, :2].ravel()
        if self._state is None:
            if not seen.all():
                return pose
            self._state = np.zeros((len(measured), self.nderiv + 1))
            self._state[:, 0] = measured
            self._variance = np.repeat(self._start[None], len(measured), axis=0)
        else:
            self._update(_transition(max(at - self._time, 0.0), self.nderiv), measured, seen)
        self._time = at
        ahead = self.forward + (max(time.time_ns() / 1e9 - at, 0.0) if self.adapt and "frame_time" in kwargs else 0.0)
        future = self._state @ _transition(ahead, self.nderiv)[0]
        return np.column_stack((future.reshape(-1, 2), pose[:, 2]))

    def _update(self, step: _Float64, measured: _Float64, seen: npt.NDArray[np.bool_]) -> None:
        assert self._state is not None
        state = self._state @ step.T
        variance = step @ self._variance @ step.T + self._drift
        gain = variance[:, :, 0] / (variance[:, :1, 0] + self.dlc_var)
        innovation = np.where(seen, measured - state[:, 0], 0.0)
        self._state = state + gain * innovation[:, None]
        corrected = variance - gain[:, :, None] * variance[:, :1, :]
        self._variance = np.where(seen[:, None, None], corrected, variance)


def _transition(seconds: float, orders: int) -> _Float64:
    """(n, n) of a motion whose last derivative is constant."""
    row = [seconds**order / math.factorial(order) for order in range(orders + 1)]
    return np.array([[0.0] * at + row[: orders + 1 - at] for at in range(orders + 1)])
