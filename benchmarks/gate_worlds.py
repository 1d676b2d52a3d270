"""Simulated worlds for the gate: pairs of models whose true improvement is known, as sufficient statistics by time block."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

ROWS = 20_000  # of a block, on average: so many that the variance between blocks dominates that between rows, as in production
BINS = 64  # of scores
CHUNK = 500
LOSS, LOSS_BLOCKS, LOSS_ROWS = 0.30, 0.010, 0.40  # a model's mean loss; how the improvement varies between blocks, between rows
SHIFT, SHIFT_BLOCKS, POSITIVES = 1.2, 0.08, 0.25  # of positive scores; how it varies between blocks; share of positive rows
EDGES = np.concatenate([[-np.inf], stats.norm.ppf(np.linspace(0, 1, BINS + 1)[1:-1]) * 1.25 + 0.3, [np.inf]])


@dataclass(frozen=True)
class World:
    """`correlation` of neighbouring blocks; `bounded`: whether the gate promises an error rate here."""

    name: str
    correlation: float = 0.0
    unequal: bool = False
    skewed: bool = False
    bounded: bool = True

    def effects(self, rng: np.random.Generator, draws: int, blocks: int, tails: float = np.inf) -> np.ndarray:
        """draws × blocks, of mean 0 and variance 1; `tails`: degrees of freedom of Student's t, infinite for a normal."""
        noise = rng.normal(size=(draws, blocks))
        for block in range(1, blocks):
            noise[:, block] = self.correlation * noise[:, block - 1] + np.sqrt(1 - self.correlation**2) * noise[:, block]
        if self.skewed:
            return (np.exp(0.5) - np.exp(noise)) / np.sqrt((np.e - 1) * np.e)
        if np.isinf(tails):
            return noise
        return stats.t.ppf(stats.norm.cdf(noise), tails) / np.sqrt(tails / (tails - 2))

    def sizes(self, rng: np.random.Generator, draws: int, blocks: int) -> np.ndarray:
        if not self.unequal:
            return np.full((draws, blocks), ROWS)
        return np.maximum(np.rint(ROWS * np.exp(rng.normal(-0.125, 0.5, (draws, blocks)))), 40).astype(int)


WORLDS = (
    World("independent"),
    World("AR(1) 0.3", correlation=0.3),
    World("unequal sizes", unequal=True),
    World("AR(1) 0.6", correlation=0.6, bounded=False),
    World("left-skewed", skewed=True, bounded=False),
)


@dataclass(frozen=True)
class Pair:
    """Both models' statistics, blocks × terms, as Spark would have reduced them; `rowwise`: the standard error by rows alone."""

    rows: np.ndarray
    challenger: np.ndarray
    champion: np.ndarray
    rowwise: float


def mean_losses(world: World, blocks: int, improvement: float, draws: int, seed: int, tails: float) -> Iterator[Pair]:
    """For a metric that is a mean over rows: the challenger's loss is lower by `improvement` plus the block's effect."""
    rng = np.random.default_rng(seed)
    for _ in range(0, draws, CHUNK):
        sizes = world.sizes(rng, CHUNK, blocks)
        between = LOSS_BLOCKS * world.effects(rng, CHUNK, blocks, tails)
        gained = improvement + between + LOSS_ROWS * rng.normal(size=sizes.shape) / np.sqrt(sizes)
        losses = LOSS + 0.02 * rng.normal(size=sizes.shape)
        for rows, theirs, gain in zip(sizes, losses, gained, strict=True):
            total = rows.sum()
            mean = (rows * gain).sum() / total
            squares = (rows * (gain**2 + LOSS_ROWS**2)).sum() / total - mean**2
            both = [np.column_stack([rows, rows * loss]).astype(float) for loss in (theirs - gain, theirs)]
            yield Pair(rows.astype(float), *both, float(np.sqrt(squares / total)))


def scores(world: World, blocks: int, improvement: float, draws: int, seed: int) -> Iterator[Pair]:
    """For a ranking metric: histograms of the scores of both classes. The positives' scores shift from block to block."""
    rng = np.random.default_rng(seed)
    ahead = _shift_for(world, improvement)
    negative = np.diff(stats.norm.cdf(EDGES))
    for _ in range(0, draws, CHUNK):
        sizes = world.sizes(rng, CHUNK, blocks)
        positives = np.maximum(rng.binomial(sizes, POSITIVES), 1)
        shared = rng.normal(size=sizes.shape)
        moved = (ahead + SHIFT_BLOCKS * (shared + world.effects(rng, CHUNK, blocks)), SHIFT_BLOCKS * shared)
        drawn = [_histograms(rng, sizes - positives, positives, negative, SHIFT + move) for move in moved]
        for rows, challenger, champion in zip(sizes, *drawn, strict=True):
            yield Pair(rows.astype(float), challenger, champion, float(np.hypot(delong(challenger), delong(champion))))


def _shift_for(world: World, improvement: float) -> float:
    """How far the challenger's positives must be ahead for its expected area to be larger by `improvement`."""
    rng = np.random.default_rng(7)
    drawn = (rng.normal(size=20_000), world.effects(rng, 20_000, 1)[:, 0])
    shared, own = ((sample - sample.mean()) / sample.std() for sample in drawn)  # removes the sample's own mean and variance
    negative = np.diff(stats.norm.cdf(EDGES))
    below = np.cumsum(negative) - negative / 2

    def area(moved: np.ndarray) -> float:
        return float(_shares(SHIFT + moved[:, None]).mean(axis=(0, 1)) @ below)

    champion = area(SHIFT_BLOCKS * shared)
    return optimize.brentq(lambda ahead: area(ahead + SHIFT_BLOCKS * (shared + own)) - champion - improvement, -1, 1)


def _shares(shifts: np.ndarray) -> np.ndarray:
    return np.diff(stats.norm.cdf(EDGES - shifts[..., None]), axis=-1)


def _histograms(
    rng: np.random.Generator, negatives: np.ndarray, positives: np.ndarray, negative: np.ndarray, shifts: np.ndarray
) -> np.ndarray:
    """draws × blocks × (2 · bins): the last bin of each class, of scores that are no numbers, is empty."""
    shares = _shares(shifts)
    counts = np.zeros((*shifts.shape, 2, BINS + 1), dtype=np.int32)
    counts[..., 0, :-1] = rng.multinomial(negatives, negative)
    counts[..., 1, :-1] = rng.multinomial(positives, shares / shares.sum(axis=-1, keepdims=True))
    return counts.reshape(*shifts.shape, -1)


def delong(histograms: np.ndarray) -> float:
    """Standard error of an area if rows were independent (DeLong, DeLong and Clarke-Pearson 1988)."""
    negative, positive = histograms.sum(axis=0).reshape(2, -1).astype(float)
    below = (np.cumsum(negative) - negative / 2) / negative.sum()
    above = (positive.sum() - np.cumsum(positive) + positive / 2) / positive.sum()
    variances = [
        (counts @ ranks**2 / counts.sum() - (counts @ ranks / counts.sum()) ** 2) / (counts.sum() - 1)
        for counts, ranks in ((positive, below), (negative, above))
    ]
    return float(np.sqrt(sum(variances)))
