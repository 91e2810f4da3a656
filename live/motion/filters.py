"""Filters over keypoints, and prediction to the time at which the board will act.

A filter is given each pose's points once, at the middle of its exposure, and says where they will be at another time:
the points of all cameras and animals together, in one compiled call. Its only clock is the poses' own, so intervals
may be irregular, and the same poses give the same result.

What every filter keeps to:

- A point that is not seen (NaN, infinite, or with a score under the gate) changes nothing. It goes on moving as it did
  until ``gap_ms`` after it was last seen, then it is NaN. When it is seen again it starts anew, at rest: nothing that
  came before can reach it.
- When time runs backwards (a new trigger epoch, a clock mapped anew) every point starts anew.

- What is predicted fades: a point is moved by ``v · fade · (1 − exp(−t / fade))`` rather than ``v · t``. No movement of
  an animal goes on for ever, and an extrapolation without bound would be worst where it is furthest.

Kalman filters: white-noise acceleration (``kalman-cv``) and white-noise jerk (``kalman-ca``) in continuous time, after
Bar-Shalom, Li and Kirubarajan, *Estimation with Applications to Tracking and Navigation* (2001), 6.2.2 and 6.2.3. The
coordinates of a point share one covariance, since they share all noise. Three rules were added:

- A measurement further than ``outlier_sigma`` from where it was expected is passed over; but three in a row, or one of
  a point's first three, mean that the filter is wrong and not the network: the point starts anew where it is now.
- Each point's process noise follows its own movement: it grows by ``exp(dt / adapt · (e² / E[e²] − 1))``, e being the
  distance between what was expected and what was measured, within a factor of 20 both ways of ``process_noise``
  (covariance matching, after Mehra, *Approaches to adaptive filtering*, IEEE TAC 1972). So one setting fits a paw that
  runs and a tail base that rests.
- The movement ahead, u, is shrunk by ``|u|² / (|u|² + caution² · var u)``: it counts as far as it stands out of its own
  uncertainty. What rests is not carried off by its noise (measured in docs/decisions/motion.md).

One-Euro: Casiez, Roussel and Vogel, *1 € Filter*, CHI 2012, with the speed of a point in place of one for each axis, so
that the axes' directions do not matter; prediction goes on at its filtered velocity. It has no test for outliers.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from poseloop.live.config import FilterTable
from poseloop.live.jit import kernel
from poseloop.live.types import Float32

__all__ = ["Filter"]

_Float64 = npt.NDArray[np.float64]
_Int64 = npt.NDArray[np.int64]

_PROCESS_NOISE = {"kalman-cv": 1000.0, "kalman-ca": 30_000.0}

_START_S = 0.1
"""A point that starts is taken to have been at rest this long ago; its first velocity is as uncertain as follows."""

_SEEN, _COUNT, _REFUSED = 0, 1, 2
"""Columns of a track: when last seen (ns); sightings, 0 = not followed; outliers since."""

_YOUNG = 3
_PERSISTENT = 3
_ADAPTS_BY = 20.0
_SURPRISE = 9.0
"""The process noise follows a surprise of at most three standard deviations: what is beyond may be an outlier."""


class Filter:
    """Follows points in one stream of poses; for one thread. A point's place in the array is its identity."""

    def __init__(self, table: FilterTable, shape: tuple[int, ...], score_gate: float = 0.0) -> None:
        """Allocate everything and compile.

        Args:
            table: which filter, and its parameters; ``none`` passes the points on.
            shape: of the points: (C, I, K, 2) or (I, K, 3).
            score_gate: a point with a lower score counts as not seen.
        """
        self.table = table
        self._shape = shape
        self._points = points, size = math.prod(shape[:-1]), shape[-1]
        self._order = 3 if table.use == "kalman-ca" else 2
        # Copied to: arrays that are laid out otherwise, or read-only, would each be compiled for, in the loop.
        self._seen: Float32 = np.zeros(self._points, np.float32)
        self._score: Float32 = np.zeros(points, np.float32)
        self._mean: _Float64 = np.zeros((points, self._order, size))
        self._covariance: _Float64 = np.zeros((points, self._order, self._order))
        self._noise: _Float64 = np.zeros((2, self._order, self._order))
        self._density: _Float64 = np.zeros(points)
        self._tracks: _Int64 = np.zeros((points, 3), np.int64)
        self._gap_ns = round(table.gap_ms * 1e6)
        self._score_gate = score_gate
        self._process_noise = table.process_noise or _PROCESS_NOISE.get(table.use, 0.0)
        self._at_ns = 0
        unseen = np.full(shape, np.nan, np.float32)
        self.step(unseen, unseen[..., 0].copy(), 0, 0)

    def target_ns(self, exposed_ns: int, acts_ns: int) -> int:
        """For which time to predict.

        Args:
            exposed_ns: middle of the exposure.
            acts_ns: when the board will act, as far as is known.

        Returns:
            Not before ``exposed_ns`` and at most ``gap_ms`` later; ``exposed_ns`` where points are filtered but not
            predicted; 0 with ``none``.
        """
        table = self.table
        if table.use == "none":
            return 0
        if not table.predict:
            return exposed_ns
        if table.horizon_ms is not None:
            return exposed_ns + round(table.horizon_ms * 1e6)
        return min(max(acts_ns, exposed_ns), exposed_ns + self._gap_ns)

    def step(self, points: Float32, score: Float32, at_ns: int, for_ns: int) -> Float32:
        """Take in one pose.

        Args:
            points: of the shape given at the start; NaN = not seen.
            score: the same without the last axis.
            at_ns: middle of the exposure.
            for_ns: the time to predict for, not before ``at_ns``.

        Returns:
            A fresh, read-only array like ``points``.
        """
        table = self.table
        if table.use == "none":
            return points
        found = np.empty(self._points, np.float32)
        if at_ns < self._at_ns:
            self._tracks[:, _COUNT] = 0
        since_s, ahead_s = (at_ns - self._at_ns) * 1e-9, (for_ns - at_ns) * 1e-9
        self._at_ns = at_ns
        self._seen[:] = points.reshape(self._points)
        self._score[:] = score.reshape(-1)
        seen = self._seen, self._score, self._score_gate
        track = self._mean, self._tracks, self._gap_ns
        fade_s = table.fade_ms / 1000
        if table.use == "one-euro":
            cutoffs = table.min_cutoff_hz, table.beta, table.derivative_cutoff_hz
            _one_euro(*seen, at_ns, ahead_s, *track, *cutoffs, fade_s, found)
        else:
            state = self._covariance, self._density, self._noise
            noise = self._process_noise, table.measurement_noise, table.adapt_ms / 1000
            rules = table.outlier_sigma, table.caution_sigma, fade_s
            _kalman(*seen, at_ns, since_s, ahead_s, *track, *state, *noise, *rules, found)
        found.flags.writeable = False
        return found.reshape(self._shape)


@kernel
def _is_seen(point: Float32, score: float, gate: float) -> bool:
    for d in range(point.shape[0]):
        if not np.isfinite(point[d]):
            return False
    # Written this way round since a NaN score is not above anything.
    return bool(score >= gate)


@kernel
def _advance(x: _Float64, s: float) -> None:
    """Move on by ``s`` seconds, in place: position, velocity (, acceleration) along the first axis."""
    order = x.shape[0]
    for j in range(x.shape[1]):
        for i in range(order - 1):
            x[i, j] += s * x[i + 1, j]
            if i + 2 < order:
                x[i, j] += 0.5 * s * s * x[i + 2, j]


@kernel
def _integrate_noise(s: float, density: float, q: _Float64) -> None:
    """Write the covariance that white noise of the highest derivative has built up after ``s`` seconds."""
    order = q.shape[0]
    for i in range(order):
        for j in range(order):
            a, b = order - 1 - i, order - 1 - j
            # Factorials of at most 2.
            q[i, j] = density * s ** (a + b + 1) / ((a + b + 1) * max(a, 1) * max(b, 1))


@kernel
def _kalman(
    points: Float32,
    score: Float32,
    gate: float,
    at_ns: int,
    since_s: float,
    ahead_s: float,
    mean: _Float64,
    tracks: _Int64,
    gap_ns: int,
    covariance: _Float64,
    density: _Float64,
    noise: _Float64,
    process: float,
    measurement: float,
    adapt_s: float,
    outlier: float,
    caution: float,
    fade_s: float,
    found: Float32,
) -> None:
    """Follow N points of D coordinates by one pose.

    Args:
        points: (N, D).
        score: (N,).
        gate: least score of a point that counts as seen.
        at_ns: this pose's time.
        since_s: from the last pose's.
        ahead_s: to the time that is wanted.
        mean: (N, order, D), state: position, velocity (, acceleration).
        tracks: (N, 3), state.
        gap_ns: after so long unseen a point is given up.
        covariance: (N, order, order), state.
        density: (N,), state: of the noise that moves each point.
        noise: (2, order, order), scratch.
        process: its root at the start.
        measurement: standard deviation.
        adapt_s: time constant of the density; 0 = it stays.
        outlier: in standard deviations.
        caution: in standard deviations.
        fade_s: time constant of what is predicted; 0 = none.
        found: (N, D), output.
    """
    count, order, size = mean.shape
    first, grown = noise[0], noise[1]
    _integrate_noise(_START_S, process * process, first)
    _integrate_noise(since_s, 1.0, grown)
    least, most = (process / _ADAPTS_BY) ** 2, (process * _ADAPTS_BY) ** 2
    variance = measurement * measurement
    for n in range(count):
        m, p, track, point = mean[n], covariance[n], tracks[n], points[n]
        if track[_COUNT] > 0 and at_ns - track[_SEEN] > gap_ns:
            track[_COUNT] = 0
        if track[_COUNT] > 0:
            _advance(m, since_s)
            _advance(p, since_s)
            _advance(p.T, since_s)
            for i in range(order):
                for j in range(order):
                    p[i, j] += density[n] * grown[i, j]
        if _is_seen(point, score[n], gate):
            total = p[0, 0] + variance
            squared = 0.0
            for d in range(size):
                squared += (point[d] - m[0, d]) ** 2
            if track[_COUNT] > 0 and adapt_s > 0:
                surprise = min(squared / (size * total), _SURPRISE)
                density[n] *= np.exp(min(since_s / adapt_s, 1.0) * (surprise - 1))
                density[n] = min(max(density[n], least), most)
            if track[_COUNT] > 0 and squared <= outlier * outlier * total:
                for d in range(size):
                    error = (point[d] - m[0, d]) / total
                    for i in range(order):
                        m[i, d] += p[i, 0] * error
                # Last row and column first: the first ones are needed until the end.
                for i in range(order - 1, -1, -1):
                    for j in range(order - 1, -1, -1):
                        p[i, j] -= p[i, 0] * p[0, j] / total
                track[_COUNT] += 1
                track[_REFUSED] = 0
                track[_SEEN] = at_ns
            else:
                track[_REFUSED] += 1
                if track[_COUNT] < _YOUNG or track[_REFUSED] >= _PERSISTENT:
                    for i in range(order):
                        for d in range(size):
                            m[i, d] = point[d] if i == 0 else 0.0
                        for j in range(order):
                            p[i, j] = first[i, j] if i > 0 and j > 0 else 0.0
                    p[0, 0] = variance
                    # A point that was lost because it moved keeps what has been learned of it.
                    density[n] = process * process if track[_COUNT] == 0 else max(density[n], process * process)
                    track[_COUNT] = 1
                    track[_REFUSED] = 0
                    track[_SEEN] = at_ns
        if track[_COUNT] > 0:
            unseen_s = (at_ns - track[_SEEN]) * 1e-9
            _foresee(m, p, unseen_s, _faded(unseen_s + ahead_s, fade_s), caution, found[n])
        else:
            found[n, :] = np.nan


@kernel
def _faded(s: float, fade_s: float) -> float:
    """For how long a velocity that fades would have to go on in full to lead as far."""
    return float(-np.expm1(-s / fade_s) * fade_s) if fade_s > 0 else s


@kernel
def _foresee(m: _Float64, p: _Float64, unseen_s: float, moves_s: float, caution: float, found: Float32) -> None:
    """Write where a point will be: where it was last seen, ``unseen_s`` ago, and how far it gets in ``moves_s``."""
    order, size = m.shape
    # The movement u as a combination of the velocity and the acceleration that the point has now.
    by_velocity = moves_s
    by_acceleration = 0.5 * moves_s * moves_s - moves_s * unseen_s
    variance = by_velocity * by_velocity * p[1, 1]
    if order == 3:
        variance += 2 * by_velocity * by_acceleration * p[1, 2] + by_acceleration * by_acceleration * p[2, 2]
    squared = 0.0
    for d in range(size):
        u = by_velocity * m[1, d]
        if order == 3:
            u += by_acceleration * m[2, d]
        squared += u * u
    doubt = caution * caution * size * variance
    share = squared / (squared + doubt) if squared > 0 else 0.0
    for d in range(size):
        u = by_velocity * m[1, d]
        start = m[0, d] - unseen_s * m[1, d]
        if order == 3:
            u += by_acceleration * m[2, d]
            start += 0.5 * unseen_s * unseen_s * m[2, d]
        value = np.float32(start + share * u)
        found[d] = value if np.isfinite(value) else np.nan


@kernel
def _one_euro(
    points: Float32,
    score: Float32,
    gate: float,
    at_ns: int,
    ahead_s: float,
    mean: _Float64,
    tracks: _Int64,
    gap_ns: int,
    min_cutoff_hz: float,
    beta: float,
    derivative_cutoff_hz: float,
    fade_s: float,
    found: Float32,
) -> None:
    """Follow N points of D coordinates by one pose; arguments as for `_kalman`."""
    count, _, size = mean.shape
    for n in range(count):
        m, track, point = mean[n], tracks[n], points[n]
        if track[_COUNT] > 0 and at_ns - track[_SEEN] > gap_ns:
            track[_COUNT] = 0
        since_s = (at_ns - track[_SEEN]) * 1e-9
        if _is_seen(point, score[n], gate):
            if track[_COUNT] == 0:
                for d in range(size):
                    m[0, d] = point[d]
                    m[1, d] = 0.0
            elif since_s > 0:
                turns = 2 * np.pi * since_s
                smooth = turns * derivative_cutoff_hz / (1 + turns * derivative_cutoff_hz)
                squared = 0.0
                for d in range(size):
                    m[1, d] += smooth * ((point[d] - m[0, d]) / since_s - m[1, d])
                    squared += m[1, d] ** 2
                cutoff = turns * (min_cutoff_hz + beta * np.sqrt(squared))
                for d in range(size):
                    m[0, d] += cutoff / (1 + cutoff) * (point[d] - m[0, d])
            track[_COUNT] += 1
            track[_SEEN] = at_ns
            since_s = 0.0
        moves_s = _faded(since_s + ahead_s, fade_s)
        for d in range(size):
            value = np.float32(m[0, d] + moves_s * m[1, d])
            found[n, d] = value if track[_COUNT] > 0 and np.isfinite(value) else np.nan
