"""Rigs of cameras around a stage, with known truth."""

from collections.abc import Sequence

import numpy as np

from poseloop.live.geometry.calibration import Calibration, CameraModel

LENSES = {
    "plain": [],
    "four": [-0.2, 0.08, 0.001, -0.002],
    "five": [-0.28, 0.1, -0.001, 0.002, -0.02],
    "rational": [0.3, -0.1, 0.001, 0.0005, 0.02, 0.5, -0.05, 0.03],
    "fisheye": [-0.05, 0.01, -0.002, 0.0005],
}


def look_at(centre: np.ndarray, target: np.ndarray, roll: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Rotation and translation of a camera at ``centre`` that looks at ``target``."""
    forward = (target - centre) / np.linalg.norm(target - centre)
    right = np.cross([0.0, 0.1, 1.0], forward)
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    c, s = np.cos(roll), np.sin(roll)
    rotation = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.stack([right, down, forward])
    return rotation, -rotation @ centre


def camera(name: str, lens: str, centre: np.ndarray, roll: float = 0.0, focal: float = 1400.0) -> CameraModel:
    rotation, translation = look_at(np.asarray(centre, float), np.zeros(3), roll)
    matrix = np.array([[focal, 0, 631.5], [0, focal * 1.01, 520.25], [0, 0, 1]])
    return CameraModel(name, (1280, 1024), matrix, LENSES[lens], rotation, translation, fisheye=lens == "fisheye")


def ring(count: int, radius: float = 700.0, lenses: Sequence[str] = tuple(LENSES)) -> Calibration:
    """Cameras around a stage of ± 100 mm; as long as ``lenses`` last they are all different."""
    cameras = []
    for number in range(count):
        angle = 2 * np.pi * number / count + 0.3
        centre = radius * np.array([np.cos(angle), np.sin(angle), 0.5 + 0.1 * number / count])
        cameras.append(camera(f"c{number}", lenses[number % len(lenses)], centre, roll=0.2 * number))
    return Calibration(cameras)


def stage(count: int, seed: int = 0) -> np.ndarray:
    """Points on the stage, mm."""
    return np.random.default_rng(seed).uniform(-100, 100, (count, 3))
