"""`poseloop frames`: the frames that are asked for, different ones, and none of them twice."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import recordings

from poseloop.live import cli
from poseloop.train import chosen, frames, videos
from poseloop.train.frames import Thumbnails
from poseloop.train.labelwriter import write_guesses, write_labels


def rests(frames_: int = 40, moves: tuple[int, int] = (20, 28)) -> list[np.ndarray[Any, Any]]:
    """An animal that rests, except between two frames."""
    pictures = []
    for n in range(frames_):
        x = 10 + 9 * (min(max(n, moves[0]), moves[1]) - moves[0])
        pictures.append(recordings.dots([(x, 30)] * 3))
    return pictures


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recordings.write(tmp_path_factory.mktemp("frames") / "rests.mkv", rests())


@pytest.fixture
def project(tmp_path: Path, video: Path) -> Path:
    folder = tmp_path / "project"
    line = ["new", "project", str(folder), "--keypoints", "snout", "tail base", "--videos", str(video)]
    assert cli.main(line) == 0
    return folder


def thumbnails(file: Path, most: int = 1000) -> Thumbnails:
    with videos.opened(file) as video:
        return frames.thumbnails(video, most=most)


def test_memory_is_bounded_and_what_is_kept_lies_evenly(video: Path) -> None:
    assert thumbnails(video).numbers.tolist() == list(range(40))
    for most in (39, 20, 19, 7):
        few = thumbnails(video, most)
        step = few.numbers[1]
        assert len(few.numbers) <= most
        assert few.numbers.tolist() == list(range(0, 40, step))
        assert few.length == 40
        np.testing.assert_array_equal(few.small, thumbnails(video).small[few.numbers])


def test_uniform_frames_lie_at_equal_distances(video: Path) -> None:
    assert frames.choose(thumbnails(video), "uniform", 4) == [5, 15, 25, 35]


@pytest.mark.parametrize("how", ["kmeans", "motion"])
def test_a_long_rest_gives_few_frames(video: Path, how: frames.How) -> None:
    chosen = frames.choose(thumbnails(video), how, 6)
    assert sum(20 <= n <= 28 for n in chosen) >= 4


@pytest.mark.parametrize("how", frames.HOWS)
@pytest.mark.parametrize("count", [1, 7, 40, 99])
def test_no_frame_is_chosen_twice(video: Path, how: frames.How, count: int) -> None:
    kept = thumbnails(video)
    first = frames.choose(kept, how, count)
    assert len(first) == len(set(first)) == min(count, 40)
    second = frames.choose(kept, how, count, first)
    assert len(second) == len(set(second)) == min(count, 40 - len(first))
    assert not set(first) & set(second)


def test_kmeans_goes_where_nothing_was_chosen_before(video: Path) -> None:
    kept = thumbnails(video)
    rest = list(range(20))
    assert all(n > 20 for n in frames.choose(kept, "kmeans", 3, rest[::4]))
    assert frames.choose(kept, "kmeans", 5, seed=3) == frames.choose(kept, "kmeans", 5, seed=3)


def test_the_command_writes_each_frame_once(project: Path, video: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = project / "labeled-data" / "rests"
    assert cli.main(["frames", str(project), "--count", "15"]) == 0
    first = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
    assert len(first) == 15
    for name in first:
        picture = cv2.cvtColor(cv2.imread(str(folder / name)), cv2.COLOR_BGR2RGB)
        np.testing.assert_array_equal(picture, rests()[int(name[3:-4])])
    assert cli.main(["frames", str(project), str(video), "--count", "30", "--how", "uniform"]) == 0
    assert "only 25 frames are left" in capsys.readouterr().err
    assert len(list(folder.iterdir())) == 40
    assert {file.name: file.stat().st_mtime_ns for file in folder.iterdir() if file.name in first} == first
    assert f"{video}:\n    crop: 0, 96, 0, 64" in (project / "config.yaml").read_text(encoding="utf-8")


def test_the_sheet_shows_what_was_chosen(project: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "new" / "sheet.png"
    assert cli.main(["frames", str(project), "--count", "7", "--sheet", str(sheet)]) == 0
    height, width = cv2.imread(str(sheet)).shape[:2]
    # Two rows of five, 200 px wide each, of pictures of 96 x 64 px.
    assert (width, height) == (5 * 204 + 4, 2 * 137 + 4)
    names = sorted(file for file in (project / "labeled-data" / "rests").iterdir())
    small = cv2.resize(cv2.imread(str(names[6])), (200, 133), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(cv2.imread(str(sheet))[141 + 30 : 141 + 133, 208:408], small[30:])


def test_one_damaged_video_does_not_stop_the_others(
    project: Path, tmp_path: Path, video: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    assert cli.main(["frames", str(project), str(tmp_path / "broken.mp4"), str(video), "--count", "2"]) == 1
    assert "broken.mp4: expected a video" in capsys.readouterr().err
    assert len(list((project / "labeled-data" / "rests").iterdir())) == 2
    (tmp_path / "rests.mp4").write_bytes(b"")
    assert cli.main(["frames", str(project), str(tmp_path / "rests.mp4"), str(video)]) == 1
    assert "names differ" in capsys.readouterr().err


def test_frames_of_a_real_deeplabcut_project_are_known(data: Path) -> None:
    there = chosen.taken(data / "dlc_openfield", "m4s1")
    assert len(there) == 92
    assert {0, 1, 106} <= there


def test_what_was_deleted_or_only_labelled_or_found_by_a_model_is_not_chosen_again(project: Path, video: Path) -> None:
    folder = project / "labeled-data" / "rests"
    assert cli.main(["frames", str(project), "--count", "12", "--how", "motion"]) == 0
    first = sorted(folder.iterdir())
    for file in first[:6]:
        file.unlink()
    # Pictures that are gone, and only a label or a guess says that they were there.
    columns = [("", "snout"), ("", "tail base")]
    labelled, guessed = [n for n in range(40) if f"img{n:04d}.png" not in {file.name for file in first}][:8:4]
    write_labels(folder, "me", columns, {f"img{labelled:04d}.png": np.ones((2, 2))})
    write_guesses(folder, "model", columns, {f"img{guessed:04d}.png": np.ones((2, 3))})
    before = {file.name for file in first} | {f"img{n:04d}.png" for n in (labelled, guessed)}
    for how, count in (("kmeans", "9"), ("uniform", "9"), ("motion", "40")):
        there = {file.name for file in folder.glob("*.png")}
        assert cli.main(["frames", str(project), str(video), "--count", count, "--how", how]) == 0
        new = {file.name for file in folder.glob("*.png")} - there
        assert new
        assert not new & before
        before |= new
    assert len(before) == 40


def test_videos_of_one_name_do_not_share_a_folder(
    project: Path, tmp_path: Path, video: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["frames", str(project), "--count", "2"]) == 0
    other = recordings.write(tmp_path / "rests.mkv", recordings.moving(9))
    assert cli.main(["frames", str(project), str(other), "--count", "2"]) == 1
    assert f"holds pictures of {video}" in capsys.readouterr().err
    # The same video elsewhere is the same.
    other.write_bytes(video.read_bytes())
    assert cli.main(["frames", str(project), str(other), "--count", "2"]) == 0
    assert len(list((project / "labeled-data" / "rests").iterdir())) == 4


def test_names_that_differ_by_capitals_are_one_folder_on_some_disks(
    project: Path, tmp_path: Path, video: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other" / "RESTS.mkv"
    other.parent.mkdir()
    recordings.write(other, recordings.moving(9))
    for given in ([video, other], [other]):
        assert cli.main(["frames", str(project), *map(str, given), "--count", "2"]) == 1
        said = capsys.readouterr().err
        assert "more than capitals" in said if len(given) > 1 else f"holds pictures of {video}" in said
        assert not (project / "labeled-data" / "RESTS").exists()
        assert cli.main(["frames", str(project), "--count", "2"]) == 0


def test_pictures_are_written_all_or_none(project: Path, video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = project / "labeled-data" / "rests"
    assert cli.main(["frames", str(project), "--count", "2"]) == 0
    there = sorted(folder.iterdir())
    calls = iter(range(100))
    save = frames.save_picture

    def ended(file: Path, picture: Any) -> None:
        if next(calls) == 3:
            raise KeyboardInterrupt
        save(file, picture)

    monkeypatch.setattr(frames, "save_picture", ended)
    with pytest.raises(KeyboardInterrupt), videos.opened(video) as opened:
        frames.save(opened, [*range(10), 39], folder, 40)
    assert sorted(folder.iterdir()) == there
