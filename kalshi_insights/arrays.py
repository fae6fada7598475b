"""numpy, loaded once an array is made, and the types of arrays.

Modules that pages, the recorder and the models import take `np` from here, since numpy takes
15 MB of each process that loads it. What only those import that compute imports numpy itself.
"""

from typing import TYPE_CHECKING, Any

from kalshi_insights.lazy import LazyModule

__all__ = ["Array", "Bools", "Floats", "Ints", "first_from", "np"]

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]
    Array = NDArray[Any]
else:
    np = LazyModule("numpy")
    # Annotations are evaluated where a module is loaded, and naming these types would load numpy.
    Ints = Floats = Bools = Array = Any


def first_from(values: Ints, low: int, high: int, least: int) -> int:
    """Return the first place from `low` on and before `high` whose value is at least `least`, and
    `high` where there is none; the values are sorted between the two.

    Compiled code calls it too, so it takes plain arrays and calls nothing.
    """
    while low < high:
        middle = (low + high) // 2
        if values[middle] < least:
            low = middle + 1
        else:
            high = middle
    return low
