"""Make the pictures of docs/first-model.md out of what its commands drew: ``python first_model.py FOLDER PLOTS``."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]

HERE = Path(__file__).parent
_QUALITY = 85


def main(folder: Path, plots: Path) -> None:
    """Write all six pictures.

    Args:
        folder: where the guide was typed.
        plots: what ``poseloop evaluate --plots`` drew for the real mouse.
    """
    write("frames", read(folder / "chosen.png"))
    write("labels", read(next((folder / "look").glob("*_sides_*.png"))))
    shutil.copyfile(plots / "learning_curve.png", HERE / "first_model_training.png")
    shutil.copyfile(plots / "error_per_keypoint.png", HERE / "first_model_errors.png")
    film = frames(next((folder / "points").glob("walk2Poseloop_*.mp4")))
    write("points", cv2.resize(film[len(film) // 2], None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC))
    # A stimulus is drawn as a frame around the picture.
    loop = frames(folder / "first.mp4")
    rims = [float(np.ptp(picture[2, 2:-2].astype(float).mean(axis=0))) for picture in loop]
    write("loop", cv2.resize(loop[int(np.argmax(rims))], (640, 480), interpolation=cv2.INTER_AREA))


def read(file: Path) -> Picture:
    """Read a picture, BGR."""
    picture = cv2.imread(str(file))
    if picture is None:
        raise SystemExit(f"{file}: expected a picture")
    return np.asarray(picture, np.uint8)


def frames(file: Path) -> list[Picture]:
    """Read all frames of a video, BGR."""
    with av.open(str(file)) as video:
        return [frame.to_ndarray(format="bgr24") for frame in video.decode(video=0)]


def write(name: str, picture: Picture | cv2.typing.MatLike) -> None:
    """Write one of the guide's pictures."""
    cv2.imwrite(str(HERE / f"first_model_{name}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
