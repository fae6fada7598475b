"""Counter-based random numbers: any draw of a stream is a hash, so none depends on another."""

from __future__ import annotations

import hashlib
from math import erf, sqrt
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Keys = NDArray[np.uint64]
Bools = NDArray[np.bool_]

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15
# The path is halved this many times; between the finest points it is a straight line.
LEVELS = 18
# Every stream of draws from one key has a salt of its own.
(
    CLOCK,
    BOUNCE,
    BID_SIZE,
    ASK_SIZE,
    TRADE,
    LOT,
    TAKER,
    MARKET,
    INTEREST,
    REFILL,
    DEPTH,
    TRADE_ID,
    BLOCK,
    PROVISIONAL,
) = ((i + 1) << 48 for i in range(14))

_inverse = NormalDist().inv_cdf
NORMALS: Floats = np.array([_inverse((i + 0.5) / 65536) for i in range(65536)])
PHI_GRID: Floats = np.linspace(-6.0, 6.0, 12001)
PHI_TABLE: Floats = np.array([(1.0 + erf(x / sqrt(2.0))) / 2.0 for x in PHI_GRID.tolist()])


def key_of(seed: int, text: str) -> int:
    """Hash to a 64-bit key that is the same in every process and on every machine."""
    return int.from_bytes(hashlib.blake2b(f"{seed}:{text}".encode(), digest_size=8).digest(), "big")


def scramble(key: int, salt: int) -> int:
    x = (key + salt * GOLDEN) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def fraction(key: int, salt: int) -> float:
    """Draw a uniform number in [0, 1), as a plain Python float."""
    # The key is inverted, because `brownian` uses the small salts of the key itself.
    return (scramble(key ^ MASK, salt) >> 11) / float(1 << 53)


def end_point(key: int) -> float:
    """The end of the path of `brownian`, which is draw 0 of its key."""
    return float(NORMALS[scramble(key, 0) >> 48])


def mix(key: Keys, salt: Any) -> Keys:
    """`scramble` for arrays; numpy scalars would warn of the intended overflow."""
    x = key + np.asarray(salt).astype(np.uint64) * np.uint64(GOLDEN)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(x ^ (x >> np.uint64(31)))


def uniform(key: Keys, salt: Any) -> Floats:
    return (mix(key, salt) >> np.uint64(11)).astype(np.float64) / float(1 << 53)


def normal(key: Keys, salt: Any) -> Floats:
    return NORMALS[(mix(key, salt) >> np.uint64(48)).astype(np.int64)]


def phi(x: Floats) -> Floats:
    return np.interp(x, PHI_GRID, PHI_TABLE)


def brownian(key: Keys, u: Floats) -> Floats:
    """Brownian motion at times u in [0, 1], by Levy's midpoint construction.

    Each value costs LEVELS hashes, whatever its time. Draw 0 of the key is the end point.
    """
    left, low, high = np.zeros_like(u), np.zeros_like(u), normal(key, 0)
    node = np.ones(u.shape, dtype=np.uint64)
    width = 1.0
    for _ in range(LEVELS):
        width /= 2.0
        middle = (low + high) / 2.0 + sqrt(width / 2.0) * normal(key, node)
        right = u >= left + width
        low, high = np.where(right, middle, low), np.where(right, high, middle)
        left += width * right
        node = node * np.uint64(2) + right.astype(np.uint64)
    return low + (high - low) * (u - left) / width
