"""Which keypoint a mirror turns into which: left and right, told from their names."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

__all__ = ["partners", "unpaired"]

_WORD = re.compile(r"left|right", re.IGNORECASE)
# Parts of a name: at separators, digits, and where a capital starts a word (`earL` → ear, L; `paw1LH` → paw, 1, LH).
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
# L, R, and the limbs' abbreviations with fore and hind: LF, FL, LH, HL…
_LETTERS = {"l": "l", "r": "r"} | {
    form: side for side in "lr" for other in "fhb" for form in (side + other, other + side)
}


def _side(name: str) -> tuple[str, str, str] | None:
    """Side of a keypoint (``l`` or ``r``), and the rest of its name with and without digits; None: it has no side."""
    word = _WORD.search(name)
    if word is not None:
        side, rest = word[0][0].lower(), f"{name[: word.start()]}*{name[word.end() :]}".lower()
    else:
        parts = list(_PART.finditer(name))
        sided = [part for part in parts if part[0].lower() in _LETTERS]
        if len(sided) != 1:
            return None
        part, letters = sided[0], sided[0][0].lower()
        side = _LETTERS[letters]
        rest = f"{name[: part.start()]}{letters.replace(side, '*')}{name[part.end() :]}".lower()
    return side, rest, re.sub(r"\d", "", rest)


def partners(names: Sequence[str]) -> tuple[int, ...]:
    """Index of the keypoint that each one is in a mirror: its own, unless its name has a side and another's the other.

    ``leftear`` and ``rightear``, ``ear_l`` and ``ear_r``, ``LHpaw`` and ``RHpaw`` are pairs; where it makes a pair
    unique, numbers are left out (``paw1LH`` and ``paw4RH``).
    """
    sides = [_side(name) for name in names]
    result = list(range(len(names)))
    for form in (1, 2):
        groups: dict[str, list[int]] = defaultdict(list)
        for index, side in enumerate(sides):
            if side is not None and result[index] == index:
                groups[side[form]].append(index)
        for members in groups.values():
            if len(members) == 2 and {(sides[index] or "")[0] for index in members} == {"l", "r"}:
                result[members[0]], result[members[1]] = members[1], members[0]
    return tuple(result)


def unpaired(names: Sequence[str]) -> tuple[str, ...]:
    """Keypoints whose name has a side but that have no partner: with them a mirrored picture would teach nonsense."""
    return tuple(
        name for index, name in enumerate(names) if _side(name) is not None and partners(names)[index] == index
    )
