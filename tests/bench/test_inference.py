import pytest

from poseloop.bench import inference
from poseloop.live.errors import ModelError


def test_each_cell_stands_beside_the_bare_run() -> None:
    rows = list(inference.measure(["blob"], [(64, 48)], [1, 2], ["cpu", "cuda"], ["fp32"], threads=1, rounds=3))
    assert [row["shape"] for row in rows] == [[1, 48, 64, 1], [2, 48, 64, 1]]
    for row in rows:
        assert set(row["ms"]) == {"bare session.run, cpu fp32", "cpu fp32"}
        assert set(row["to_bare"]) == {"cpu fp32"}
        assert set(row["missing"]) == {"cuda fp32"}
        assert row["frames_a_second"]["cpu fp32"] > 0


@pytest.mark.parametrize("model", ["blob", "openfield"])
def test_pictures_to_points_are_another_cell(model: str) -> None:
    (row,) = inference.measure([model], [(64, 64)], [2], ["cpu"], ["fp32"], threads=1, rounds=3, keypoints=True)
    assert set(row["to_bare"]) == {"cpu fp32", "cpu fp32, to keypoints"}
    assert row["ms"]["cpu fp32, to keypoints"]["n"] == 3


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ModelError, match="fp32 or fp16"):
        list(inference.measure(["blob"], [(64, 48)], [1], ["cpu"], ["int4"], threads=1, rounds=3))
