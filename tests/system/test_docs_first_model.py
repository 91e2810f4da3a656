"""The guide docs/first-model.md, typed as it stands."""

import re
import shlex
import shutil
from pathlib import Path

import cv2
import pytest
from repository import ROOT
from rigs import poseloop

from poseloop.live import cli
from poseloop.live.vision.network import find_model
from poseloop.train import labels

GUIDE = ROOT / "docs" / "first-model.md"
TEXT = GUIDE.read_text(encoding="utf-8")
TO_TYPE, REAL = TEXT.split("## The same with a real mouse")
SMALL = "--steps 2 --weights none --size 64 --batch 2 --backbone mobilenet_v1 --alpha 0.25 --width 16"
"""Instead of minutes of training."""


def blocks(kind: str, text: str = TO_TYPE) -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [block for its, block in fenced if its == kind]


def lines(text: str = TO_TYPE, kind: str = "") -> list[list[str]]:
    joined = [block.replace("\\\n", " ") for block in blocks(kind, text)]
    typed = [line for block in joined for line in block.splitlines() if line.startswith("poseloop ")]
    return [shlex.split(line, comments=True)[1:] for line in typed]


def follow(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], train: bool) -> str:
    """Type the guide in a folder; without training, a shipped model takes the place. Gives all that was printed."""
    monkeypatch.chdir(folder)
    own = '[publish]\nposes = "tcp://127.0.0.1:*"\nhealth = "tcp://127.0.0.1:*"\npreviews = "tcp://127.0.0.1:*"\n'
    (rig,) = blocks("toml")
    (folder / "rig.toml").write_text(f"{rig}{own}[gates]\nage_ms = 5000\n", encoding="utf-8")
    session, said = "none", ""
    for words in lines():
        if "SESSION" in words:
            words[words.index("SESSION")] = session
        match words[0]:
            case "simulate":
                words += ["--frames", "160"]
            case "labels" if words[-1].startswith("walk0/"):
                # Of videos as short as these, other pictures are chosen.
                spoilt = sorted((folder / "mice" / "labeled-data" / "walk0").glob("*.png"))[3]
                words[-1] = f"walk0/{spoilt.name}"
            case "train" if not train:
                cli._parser(words).parse_args(words)
                shutil.copyfile(find_model("demo_animal"), folder / words[words.index("--out") + 1])
                continue
            case "train":
                at = words.index("--minutes")
                words[at : at + 2] = SMALL.split()
            case "run":
                done = poseloop(*words, "--headless", cwd=folder)
                assert done.returncode == 0, (words, done.stdout, done.stderr)
                (session,) = map(str, (folder / "sessions").iterdir())
                said += done.stdout
                continue
        code = cli.main(words)
        out, err = capsys.readouterr()
        # A computer on which the doctor finds something can follow the guide, and a network may be sure of all it sees.
        fine = code == 0 or words[0] == "doctor" or "sure of every pose" in err
        assert fine, (words, out, err)
        said += out
    return said


def test_the_guide_works_as_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(lines()) == 18
    said = follow(tmp_path, monkeypatch, capsys, train=False)
    assert "left and right may be swapped" in said
    assert "leftear: 1 moved" in said
    assert "walk2: 10 more pictures labelled" in said
    assert "mouse.onnx minus mouse2.onnx: +0.00 px" in said
    assert "frame sets 40 captured" in said
    project = labels.read(tmp_path / "mice")
    assert [problem for problem in project.problems if problem.kind != "no labels"] == []
    assert {frame.video for frame in project.frames} == {"walk0", "walk1", "walk2"}
    assert len(project.frames) == 30
    made = {file.relative_to(tmp_path).as_posix() for file in tmp_path.glob("*/*")} | {
        file.name for file in tmp_path.iterdir()
    }
    assert {"chosen.png", "plots/index.html", "first.html", "first.mp4"} <= made
    assert sum(name.startswith("look/001_sides_img") for name in made) == 1
    assert sum(re.fullmatch(r"points/walk2Poseloop_mouse_.{8}\.(csv|mp4)", name) is not None for name in made) == 2


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore")
def test_the_guide_works_with_its_own_trainings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorflow")
    said = follow(tmp_path, monkeypatch, capsys, train=True)
    assert "mouse2.onnx: same points as the trained network" in said


def test_the_commands_for_the_real_mouse_are_commands() -> None:
    found = lines(REAL, "sh")
    assert len(found) == 10
    for words in found:
        cli._parser(words).parse_args(words)


def test_the_pictures_are_there_small_and_all_shown() -> None:
    shown = re.findall(r"!\[[^\]]+\]\((images/[^)]+)\)", TEXT)
    files = [GUIDE.parent / name for name in shown]
    assert set(files) == {file for file in (GUIDE.parent / "images").glob("first_model_*") if file.suffix != ".py"}
    sizes = [file.stat().st_size for file in files]
    assert max(sizes) < 150_000
    assert sum(sizes) < 600_000
    for file in files:
        assert cv2.imread(str(file)).shape[1] >= 600
