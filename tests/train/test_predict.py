"""`poseloop predict` gives for every frame what the network gives for it, whatever happens in between."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import recordings
from recordings import NAMES, dots
from tinymodels import Tiny

from poseloop.live import cli
from poseloop.live.types import Colour
from poseloop.live.vision import Network
from poseloop.train import predict, videos
from poseloop.train.commands import predict as command
from poseloop.train.posestore import PoseStore
from poseloop.train.tracks import read_tracks

FRAMES = 23


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and a video."""
    folder = tmp_path_factory.mktemp("predict")
    Tiny(colour=Colour.RGB, keypoints=NAMES).save(folder)
    recordings.write(folder / "a.mkv", recordings.moving(FRAMES))
    return folder


@pytest.fixture(scope="module")
def expected(folder: Path) -> Any:
    """(N, K, 3): what the network says, frame by frame."""
    with Network.open(folder / "tiny.onnx") as network:
        found = [network.infer([picture]) for picture in recordings.moving(FRAMES)]
    return np.array([np.concatenate([one.xy[0, 0], one.score[0, 0][:, None]], axis=-1) for one in found])


def run(folder: Path, out: Path, *more: str) -> int:
    return cli.main(["predict", str(folder / "tiny.onnx"), str(folder / "a.mkv"), "--out", str(out), *more])


def result(out: Path, ending: str) -> Path:
    (file,) = [file for file in out.iterdir() if file.name.endswith(ending)]
    return file


def test_every_format_says_what_the_network_says(folder: Path, expected: Any, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    out = tmp_path / "out"
    assert run(folder, out, "--to", "csv", "h5", "slp-analysis", "--overlay", "--report", str(report)) == 0
    for ending in (".csv", "[0-9a-f].h5", ".analysis.h5"):
        found = read_tracks(next(out.glob(f"*{ending}")))
        assert found.keypoints == NAMES
        np.testing.assert_array_equal(found.xy.astype(np.float32), expected[..., :2])
        np.testing.assert_array_equal(found.score.astype(np.float32), expected[..., 2])
    with videos.opened(result(out, ".mp4")) as overlay:
        assert (overlay.width, overlay.height) == recordings.SIZE
        assert len(list(overlay.numbers())) == FRAMES
    (row,) = json.loads(report.read_text())["videos"]
    assert (row["frames"], row["resumed_at"], row["error"]) == (FRAMES, 0, None)
    assert not list(out.glob("*.poses"))
    assert not list(out.glob("*.part"))


def test_what_is_there_is_not_made_twice(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, tmp_path) == 0
    before = result(tmp_path, ".csv").stat().st_mtime_ns
    assert run(folder, tmp_path) == 0
    assert result(tmp_path, ".csv").stat().st_mtime_ns == before
    assert "there already" in capsys.readouterr().out
    assert run(folder, tmp_path, "--again") == 0
    assert result(tmp_path, ".csv").stat().st_mtime_ns > before


@pytest.mark.parametrize("batch", [1, 5])
def test_a_run_that_was_interrupted_goes_on(
    folder: Path, expected: Any, tmp_path: Path, batch: int, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    append, calls = PoseStore.append, []

    def interrupted(self: PoseStore, *values: Any) -> None:
        append(self, *values)
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(PoseStore, "append", interrupted)
        assert run(folder, tmp_path, "--batch", str(batch)) == 130
    assert f"{2 * batch} frames are done" in capsys.readouterr().err
    store = result(tmp_path, ".poses")
    # As if it had been killed while it wrote a record.
    with store.open("ab") as stream:
        stream.write(b"half")
    assert run(folder, tmp_path, "--batch", "3") == 0
    assert f"on from frame {2 * batch}" in capsys.readouterr().err
    found = read_tracks(result(tmp_path, ".csv"))
    np.testing.assert_array_equal(found.xy.astype(np.float32), expected[..., :2])
    assert not store.exists()


def test_a_killed_run_goes_on(folder: Path, tmp_path: Path) -> None:
    """Killed by the system, wherever it is: the result is that of a run in one go."""
    long = tmp_path / "long.mkv"
    recordings.write(long, recordings.moving(1000))
    line = ["predict", str(folder / "tiny.onnx"), str(long), "--batch", "1", "--out", str(tmp_path / "killed")]
    child = subprocess.Popen([sys.executable, "-m", "poseloop.live.cli", *line], stdout=subprocess.DEVNULL)
    deadline = time.perf_counter() + 60
    stores: list[Path] = []
    while not (stores and stores[0].stat().st_size > 6000) and time.perf_counter() < deadline and child.poll() is None:
        stores = list((tmp_path / "killed").glob("*.poses"))
        time.sleep(0.001)
    child.send_signal(signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)
    child.wait()
    assert stores
    there = stores[0].stat().st_size
    assert 6000 < there < 4096 + 1000 * 36, "expected to kill it in the middle"
    assert cli.main(line) == 0
    whole = [*line[:-1], str(tmp_path / "whole")]
    assert cli.main(whole) == 0
    (killed,), (one_go,) = (list((tmp_path / name).iterdir()) for name in ("killed", "whole"))
    assert killed.read_bytes() == one_go.read_bytes()


def test_another_video_of_the_same_name_is_begun_anew(folder: Path, tmp_path: Path) -> None:
    target = predict.Target(folder / "a.mkv", tmp_path, "net")
    with target.store(1, 3) as store:
        store.append(np.zeros((4, 1, 3, 2), np.float32), np.ones((4, 1, 3), np.float32))
    with target.store(1, 3) as store:
        assert len(store) == 4
    other = recordings.write(tmp_path / "a.mkv", recordings.moving(5))
    with predict.Target(other, tmp_path, "net").store(1, 3) as store:
        assert len(store) == 0


@pytest.mark.parametrize("batch", [1, 4])
def test_animals_keep_their_places_across_batches_and_kills(tmp_path: Path, batch: int) -> None:
    """As a network does that sees one frame after the other; the animals cross, and one leaves for a while."""
    Tiny(colour=Colour.RGB, keypoints=NAMES).save(tmp_path)
    pictures = []
    for n in range(30):
        one = dots([(10 + 2.5 * n, y) for y in (10, 30, 50)], 3)
        two = dots([(85 - 2.5 * n, y + 6) for y in (10, 30, 50)], 3)
        pictures.append(one if 8 < n < 12 else np.maximum(one, (two * 0.9).astype(np.uint8)))
    with Network.open(tmp_path / "tiny.onnx", individuals=2) as network:
        found = [network.infer([picture]) for picture in pictures]
    expected = np.array([np.concatenate([one.xy[0], one.score[0][..., None]], axis=-1) for one in found])
    file = recordings.write(tmp_path / "two.mkv", pictures)
    with Network.open(tmp_path / "tiny.onnx", individuals=2) as network:
        for stop in (7, 30):
            target = predict.Target(file, tmp_path, "net")
            with target.store(2, 3) as store, videos.opened(file) as video:
                if stop == 7:
                    store.append(expected[:7, ..., :2], expected[:7, ..., 2])
                else:
                    assert len(store) == 7
                    predict.predict(network, video, store, batch)
                    np.testing.assert_array_equal(store.read(), expected)


def test_videos_of_several_sizes_and_animals(folder: Path, tmp_path: Path) -> None:
    recordings.write(tmp_path / "b.mkv", [picture[8:, 20:] for picture in recordings.moving(5)])
    line = ["predict", str(folder / "tiny.onnx"), str(folder / "a.mkv"), str(tmp_path / "b.mkv"), "--individuals", "2"]
    assert cli.main([*line, "--out", str(tmp_path / "out"), "--to", "h5"]) == 0
    lengths = [len(read_tracks(file, "individual2").xy) for file in sorted((tmp_path / "out").iterdir())]
    assert lengths == [FRAMES, 5]


def test_a_damaged_video_is_told_and_does_not_stop_the_others(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "videos").mkdir()
    recordings.write(tmp_path / "videos" / "z.mkv", recordings.moving(4))
    (tmp_path / "videos" / "b.mp4").write_bytes(b"no video")
    line = ["predict", str(folder / "tiny.onnx"), str(tmp_path / "videos"), "--out", str(tmp_path / "out")]
    assert cli.main(line) == 1
    assert "b.mp4: expected a video" in capsys.readouterr().err
    assert [file.name[0] for file in (tmp_path / "out").glob("*.csv")] == ["z"]


def test_damage_in_the_middle_keeps_what_is_before_it_if_asked(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expected: Any
) -> None:
    numbers = videos.Video.numbers

    def damaged(self: videos.Video, start: int = 0) -> Any:
        for number in numbers(self, start):
            if number == 9:
                raise self._damaged("is damaged")
            yield number

    monkeypatch.setattr(videos.Video, "numbers", damaged)
    assert run(folder, tmp_path) == 1
    assert not list(tmp_path.glob("*.csv"))
    assert run(folder, tmp_path, "--keep-damaged") == 0
    found = read_tracks(result(tmp_path, ".csv"))
    np.testing.assert_array_equal(found.xy.astype(np.float32), expected[:9, :, :2])


def test_two_videos_never_share_a_result(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "other").mkdir()
    other = recordings.write(tmp_path / "other" / "a.mkv", recordings.moving(2))
    line = ["predict", str(folder / "tiny.onnx"), str(folder / "a.mkv"), str(other), "--out", str(tmp_path / "out")]
    assert cli.main(line) == 1
    assert "names differ" in capsys.readouterr().err


def test_a_missing_package_is_told_before_the_work(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert run(folder, tmp_path, "--to", "slp-analysis") == 1
    assert "poseloop[tracks]" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    assert command.HELP


def test_a_real_video_gives_what_the_network_gives(data: Path, tmp_path: Path) -> None:
    """The last frames of it, so that it takes no time: those before are in the store already."""
    file = data / "lp_mirror_mouse" / "videos" / "test_vid.mp4"
    last = 6
    with Network.open("mirror_mouse") as network:
        target = predict.Target(file, tmp_path, "net")
        with target.store(1, len(network.keypoints)) as store, videos.opened(file) as video:
            shape = (video.length - last, 1, len(network.keypoints))
            store.append(np.zeros((*shape, 2), np.float32), np.zeros(shape, np.float32))
            predict.predict(network, video, store, 4)
            found = np.array(store.read())[-last:]
    assert len(found) == last
    with videos.opened(file) as video, Network.open("mirror_mouse") as network:
        pictures = [np.array(video.picture(Colour.RGB)) for number in video.numbers() if number >= 994 - last]
        expected = [network.infer([picture]) for picture in pictures]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one[0, :, :2], other.xy[0, 0], atol=0.01)
        np.testing.assert_allclose(one[0, :, 2], other.score[0, 0], atol=1e-4)
