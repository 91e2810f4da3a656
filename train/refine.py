"""From a model's doubts about recordings to a labelling set: pictures, with the model's guess as a start."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from poseloop.live.errors import ConfigError
from poseloop.live.geometry.calibration import Calibration
from poseloop.live.output.session import Session, is_session
from poseloop.live.types import Float32
from poseloop.live.vision import Network
from poseloop.train import chosen, doubt, frames, predict, projects, videos
from poseloop.train.labelwriter import write_guesses
from poseloop.train.predict import Target
from poseloop.train.projects import PICTURES, Project

__all__ = ["Doubts", "Recording", "choose", "compare", "look", "recordings", "write"]

_Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """One video."""

    video: Path
    name: str
    """Its folder in the project."""
    camera: str = ""
    """In a calibration; empty: none."""
    scene: str = ""
    """Recordings of the same scene were taken together."""
    moments: npt.NDArray[np.int64] | None = field(default=None, repr=False)
    """(N,) by which pictures of one scene belong together; None: their numbers."""


@dataclass(frozen=True, slots=True, eq=False)
class Doubts:
    """What a model says about a recording, and how sure it is."""

    recording: Recording
    poses: Float32 = field(repr=False)
    """(N, I, K, 3)."""
    kinds: dict[str, _Float64] = field(repr=False)
    """What → (N,) in 0..1: see `poseloop.train.doubt`."""
    there: frozenset[int]
    """Numbers of the frames that were chosen before: see `poseloop.train.chosen`."""

    @property
    def total(self) -> _Float64:
        """(N,), of all kinds."""
        return np.asarray(sum(self.kinds.values()))

    @property
    def free(self) -> npt.NDArray[np.int64]:
        """Numbers of the frames that may be chosen."""
        return np.setdiff1d(np.arange(len(self.poses)), np.fromiter(self.there, np.int64, len(self.there)))

    def why(self, number: int) -> str:
        """Name the kind of doubt by which a frame stands out most of its recording."""
        return max(self.kinds, key=lambda kind: self.kinds[kind][number] - float(np.median(self.kinds[kind])))


def recordings(words: Sequence[str], calibrated: bool = False) -> tuple[list[Recording], dict[str, Path]]:
    """Find what a command line names: videos, folders, patterns, sessions, ``CAMERA=FILE``.

    Args:
        words: of the command line.
        calibrated: a calibration is given, so ``CAMERA=FILE`` makes sense.

    Returns:
        Recordings; and of each session that has one, its calibration.

    Raises:
        DataError: a word names no video, or two would share a folder.
        ConfigError: a camera is named, but no calibration.
    """
    found: list[Recording] = []
    calibrations = {}
    for word in words:
        camera, equals, file = word.partition("=")
        if is_session(Path(word)):
            with Session.open(word) as session:
                scene = session.folder.resolve().name
                for name, footage in session.footage.items():
                    place = projects.recording(footage.file)
                    found.append(Recording(footage.file, place, name, scene, session.frames(name).index))
                if session.calibration:
                    calibrations[scene] = session.calibration.file
        elif equals and not Path(word).exists():
            if not calibrated:
                raise ConfigError(f"{word}: expected --calibration beside a camera's name")
            found.extend(Recording(video, projects.recording(video), camera) for video in videos.find([file]))
        else:
            found.extend(Recording(video, projects.recording(video)) for video in videos.find([word]))
    owners: dict[str, Path] = {}
    for one in found:
        projects.claim(owners, one.name, one.video)
    return found, calibrations


def look(
    network: Network,
    recording: Recording,
    project: Path,
    folder: Path,
    scorer: str,
    batch: int,
    done: Callable[[int], object] = lambda n: None,
) -> Doubts:
    """Run a model over a recording, from where an earlier run with it was ended.

    Args:
        network: opened.
        recording: which.
        project: whose frames are not chosen again.
        folder: where the points are kept.
        scorer: see `poseloop.train.predict.scorer`.
        batch: pictures in one run.
        done: called with the number of frames after every batch.

    Raises:
        DataError: the video is damaged, or the project has pictures of another one of its name.
    """
    projects.check_recording(project, recording.video, recording.name)
    target = Target(recording.video, folder / recording.name, scorer)
    with target.store(network.individuals, len(network.keypoints)) as store:
        with videos.opened(recording.video) as video:
            rate = float(video.rate)
            predict.predict(network, video, store, batch, done)
        poses = np.array(store.read())
    kinds = doubt.doubts(poses, network.info.gate, rate)
    return Doubts(recording, poses, kinds, frozenset(chosen.taken(project, recording.name)))


def compare(found: Sequence[Doubts], calibrations: Mapping[str, Calibration], gate: float) -> None:
    """Add what cameras of the same scene say about each other's points, where one animal is looked for.

    Args:
        found: of all recordings; ``views`` is added to their kinds.
        calibrations: of each scene.
        gate: score from which on a view counts.

    Raises:
        ConfigError: a scene with a calibration has one camera only.
    """
    for scene, calibration in calibrations.items():
        here = [one for one in found if one.recording.camera and one.recording.scene == scene]
        if len(here) < 2:
            raise ConfigError(f"expected videos of two cameras or more beside a calibration, but got {len(here)}")
        if here[0].poses.shape[1] > 1:
            # Without identities, nothing says which animal of one view is which of another.
            continue
        moments = [_moments(one) for one in here]
        every = np.unique(np.concatenate(moments))
        poses = []
        for one, own in zip(here, moments, strict=True):
            wide = np.full((len(every), *one.poses.shape[2:]), np.nan, np.float32)
            wide[np.searchsorted(every, own)] = one.poses[:, 0]
            poses.append(wide)
        selected = calibration.select([one.recording.camera for one in here])
        for one, own, values in zip(here, moments, doubt.views(selected, poses, gate), strict=True):
            one.kinds["views"] = values[np.searchsorted(every, own)]


def _moments(one: Doubts) -> npt.NDArray[np.int64]:
    count = len(one.poses)
    moments = one.recording.moments
    if moments is None or len(moments) < count:
        return np.arange(count)
    return moments[:count]


def choose(found: Sequence[Doubts], count: int, seed: int = 0) -> dict[str, list[int]]:
    """Choose frames of all recordings together: doubtful, different, and not in the project yet.

    Returns:
        Name of the recording → numbers, rising; together ``count``, or all that there are.

    Raises:
        DataError: a video cannot be read.
    """
    shares = doubt.share({one.recording.name: one.total[one.free] for one in found}, count)
    picked = {}
    for one in found:
        wanted = shares[one.recording.name]
        if not wanted:
            continue
        with videos.opened(one.recording.video) as video:
            kept = frames.thumbnails(video)
        free = np.isin(kept.numbers, one.free)
        numbers = kept.numbers[free]
        places = doubt.pick(one.total[numbers], kept.small[free], wanted, seed)
        picked[one.recording.name] = numbers[places].tolist()
    return picked


def write(
    one: Doubts, numbers: Sequence[int], root: Path, project: Project, keypoints: Sequence[str], scorer: str
) -> None:
    """Write pictures of a recording and the model's guesses into a project: all of them, or none.

    Args:
        one: the recording.
        numbers: of the frames.
        root: the project's folder.
        project: what is labelled there; what the model does not know stays empty.
        keypoints: the model's.
        scorer: the model's.

    Raises:
        DataError: the video cannot be read, or a file cannot be written.
    """
    folder = root / PICTURES / one.recording.name
    with videos.opened(one.recording.video) as video:
        files = frames.save(video, numbers, folder, len(one.poses))
    poses = {file.name: one.poses[number] for number, file in zip(sorted(numbers), files, strict=True)}
    columns, rows = projects.guesses(project, keypoints, poses)
    with frames.together(files):
        write_guesses(folder, scorer, columns, rows)
    chosen.remember(root, one.recording.name, numbers)
    projects.add_recording(root, one.recording.video, one.recording.name)
