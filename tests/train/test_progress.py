"""What a progress bar shows."""

import io

from poseloop.train.progress import Progress


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_counts_up_to_a_total() -> None:
    shown = _Terminal()
    with Progress("walk", 4, shown) as progress:
        progress.step(1)
        progress.step(3)
    first, last = shown.getvalue().strip("\r\n").split("\r")
    assert first.count("█") == 7
    assert "1/4" in first
    assert last.count("█") == 30
    assert "4/4" in last


def test_draws_no_bar_where_the_total_is_not_known() -> None:
    shown = _Terminal()
    with Progress("walk", 0, shown) as progress:
        progress.step(4)
    assert "█" not in shown.getvalue()
    assert "walk 4 " in shown.getvalue()
    assert "4/4" not in shown.getvalue()


def test_nothing_on_a_file() -> None:
    shown = io.StringIO()
    with Progress("walk", 4, shown) as progress:
        progress.step(4)
    assert shown.getvalue() == ""
