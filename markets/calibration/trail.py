"""The score of each settled market over time, with its moving average and its histogram."""

from dataclasses import dataclass

from kalshi_insights.arrays import Floats, Ints, np
from markets.calibration.anchors import MISSING

MOST_POINTS = 2_000
WINDOW = 200
CLASSES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreTrail:
    """Scores by settlement: `at` in milliseconds, `score` and the mean of the last `window`.

    The mean is None until there are as many. Of very many markets only every n-th is drawn;
    `classes` counts all of them by score, in equal classes from 0 to 1. A market whose settlement
    has no date has no place in time, and is in `classes` alone.
    """

    window: int
    at: list[int]
    score: list[float]
    average: list[float | None]
    classes: list[int]


def score_trail(settled: Ints, scores: Floats, *, window: int = WINDOW) -> ScoreTrail:
    """Return the trail of scores from 0 to 1; `settled` are microseconds or MISSING."""
    order = np.argsort(settled, kind="stable")
    order = order[settled[order] != MISSING]
    at, score = settled[order], scores[order]
    sums = np.concatenate(([0.0], np.cumsum(score)))
    average = np.full(len(score), np.nan)
    if len(score) >= window:
        average[window - 1 :] = (sums[window:] - sums[:-window]) / window
    step = max(-(-len(score) // MOST_POINTS), 1)
    # The newest market is always among those that are drawn.
    drawn = np.arange(len(score))[::-1][::step][::-1]
    places = np.minimum((scores * CLASSES).astype(np.int64), CLASSES - 1)
    return ScoreTrail(
        window=window,
        at=(at[drawn] // 1000).tolist(),
        score=[round(value, 4) for value in score[drawn].tolist()],
        average=[None if np.isnan(v) else round(v, 4) for v in average[drawn].tolist()],
        classes=np.bincount(places, minlength=CLASSES).tolist(),
    )
