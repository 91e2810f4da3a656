"""Charts as SVG text, for pages that are one file and need no network, script or font."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["Chart"]

_Floats = npt.NDArray[np.floating]

_LEFT, _RIGHT, _TOP, _BOTTOM = 92, 12, 10, 28


class Chart:
    """One pair of axes; what is drawn first lies below."""

    def __init__(
        self,
        x: tuple[float, float],
        y: tuple[float, float],
        label: str,
        *,
        height: int = 190,
        width: int = 940,
        log: bool = False,
        rows: Sequence[str] = (),
        unit: str = "s",
    ) -> None:
        """Draw the axes.

        Args:
            x: ends of the axis.
            y: ends of the axis; lower one first.
            label: of the y axis.
            height: of the picture, px.
            width: of the picture, px.
            log: the y axis is logarithmic.
            rows: names instead of numbers on the y axis, at 0, 1, …
            unit: of the x axis.
        """
        self._x, self._log = x, log
        self._y = (math.log10(y[0]), math.log10(y[1])) if log else y
        self._size = width, height
        self._parts: list[str] = []
        left, right, top, bottom = _LEFT, width - _RIGHT, _TOP, height - _BOTTOM
        self._box = left, right, top, bottom
        ticks = [(at, name) for at, name in enumerate(rows)] if rows else [(v, f"{v:g}") for v in self._ticks(y)]
        for value, name in ticks:
            at = float(self._down(np.array([value]))[0])
            self._add(f'<line class="grid" x1="{left}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}"/>')
            self._add(f'<text x="{left - 8}" y="{at + 4:.1f}" text-anchor="end">{html.escape(name)}</text>')
        for value in _steps(*x, 8):
            at = float(self._across(np.array([value]))[0])
            self._add(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{top}" y2="{bottom}"/>')
            self._add(f'<text x="{at:.1f}" y="{height - 9}" text-anchor="middle">{value:g} {unit}</text>')
        middle = (top + bottom) / 2
        self._add(
            f'<text class="axis" transform="translate(14 {middle}) rotate(-90)" text-anchor="middle">{label}</text>'
        )

    def _ticks(self, y: tuple[float, float]) -> Iterable[float]:
        if not self._log:
            return _steps(*y, 4)
        return [10.0**power for power in range(math.ceil(self._y[0] - 1e-9), math.floor(self._y[1] + 1e-9) + 1)]

    def _across(self, x: _Floats) -> _Floats:
        left, right, _, _ = self._box
        return left + (x - self._x[0]) / ((self._x[1] - self._x[0]) or 1) * (right - left)

    def _down(self, y: _Floats) -> _Floats:
        _, _, top, bottom = self._box
        value = np.log10(np.maximum(y, 1e-12)) if self._log else y
        share = (value - self._y[0]) / ((self._y[1] - self._y[0]) or 1)
        return bottom - np.clip(share, 0, 1) * (bottom - top)

    def _add(self, text: str) -> None:
        self._parts.append(text)

    def line(self, x: _Floats, y: _Floats, colour: str, title: str = "") -> None:
        """Connect points; NaN leaves a gap."""
        points, path, pen = np.stack([self._across(x), self._down(y)], axis=-1), [], "M"
        for number, (at, down) in enumerate(points.tolist()):
            if math.isnan(float(y[number])):
                pen = "M"
                continue
            path.append(f"{pen}{at:.1f} {down:.1f}")
            pen = "L"
        self._add(f'<path d="{"".join(path)}" stroke="{colour}" fill="none" stroke-width="1.6">{_title(title)}</path>')

    def band(self, x: _Floats, low: _Floats, high: _Floats, colour: str) -> None:
        """Fill between two lines."""
        there = np.isfinite(low) & np.isfinite(high)
        across = self._across(x[there])
        points = [*zip(across, self._down(high[there]), strict=True)]
        points += [*zip(across[::-1], self._down(low[there])[::-1], strict=True)]
        text = " ".join(f"{at:.1f},{down:.1f}" for at, down in points)
        self._add(f'<polygon points="{text}" fill="{colour}" opacity="0.22"/>')

    def level(self, y: float, colour: str, text: str) -> None:
        """Draw a value that does not change."""
        down = float(self._down(np.array([y]))[0])
        left, right, _, _ = self._box
        self._add(
            f'<line x1="{left}" x2="{right}" y1="{down:.1f}" y2="{down:.1f}" stroke="{colour}" stroke-dasharray="5 4"/>'
        )
        self._add(
            f'<text x="{right - 4}" y="{down - 5:.1f}" text-anchor="end" fill="{colour}">{html.escape(text)}</text>'
        )

    def bars(self, edges: _Floats, height: _Floats, base: _Floats, colour: str, title: str) -> None:
        """Stand a bar on ``base`` in each interval between edges; none where it is 0."""
        across = self._across(edges)
        low, high = self._down(base), self._down(base + height)
        for number in np.flatnonzero(height > 0):
            x, width = across[number], max(across[number + 1] - across[number] - 0.5, 1.0)
            text = _title(f"{title}: {height[number]:g}")
            self._add(
                f'<rect x="{x:.1f}" width="{width:.1f}" y="{high[number]:.1f}" '
                f'height="{low[number] - high[number]:.1f}" fill="{colour}">{text}</rect>'
            )

    def ticks(self, x: _Floats, row: float, colour: str, titles: Sequence[str]) -> None:
        """Draw short upright lines, one for each moment."""
        down = float(self._down(np.array([row]))[0])
        for at, title in zip(self._across(x).tolist(), titles, strict=True):
            self._add(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{down - 9:.1f}" y2="{down + 9:.1f}" stroke="{colour}" '
                      f'stroke-width="2">{_title(title)}</line>')  # fmt: skip

    def dots(self, x: _Floats, y: _Floats, colour: str, titles: Sequence[str]) -> None:
        """Draw points."""
        for at, down, title in zip(self._across(x).tolist(), self._down(y).tolist(), titles, strict=True):
            self._add(f'<circle cx="{at:.1f}" cy="{down:.1f}" r="2.6" fill="{colour}">{_title(title)}</circle>')

    def __str__(self) -> str:
        width, height = self._size
        return f'<svg viewBox="0 0 {width} {height}" role="img">' + "\n".join(self._parts) + "</svg>"


def _title(text: str) -> str:
    return f"<title>{html.escape(text)}</title>" if text else ""


def _steps(low: float, high: float, about: int) -> list[float]:
    """About so many round numbers from ``low`` to ``high``."""
    if not high > low:
        return [low]
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(number * step, 10) for number in range(first, math.floor(high / step + 1e-9) + 1)]
