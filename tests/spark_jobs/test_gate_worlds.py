"""The simulation's worlds have the block correlation that their names state, with row noise included."""

import numpy as np
import pytest
from scipy import stats

from benchmarks.gate_errors import BLOCKS
from benchmarks.gate_worlds import WORLDS, World, mean_losses


def gained(world: World, blocks: int, draws: int) -> np.ndarray:
    """draws × blocks: by how much the challenger's mean loss was lower."""
    pairs = list(mean_losses(world, blocks, 0.002, draws, seed=1, tails=np.inf))
    return np.array([(pair.champion[:, 1] - pair.challenger[:, 1]) / pair.rows for pair in pairs]) - 0.002


@pytest.mark.parametrize(("index", "lag1"), [(0, 0.0), (1, 0.3), (2, 0.0), (3, 0.6), (4, 0.0)])
def test_neighbouring_blocks_are_correlated_as_the_world_says(index: int, lag1: float):
    around = gained(WORLDS[index], max(BLOCKS), 1_000)
    measured = np.corrcoef(around[:, 1:].ravel(), around[:, :-1].ravel())[0, 1]
    assert measured == pytest.approx(lag1, abs=0.06)  # rows add noise of their own


def test_only_the_skewed_world_is_skewed():
    assert [round(float(stats.skew(gained(world, 100, 1_000).ravel())) / 5) for world in WORLDS] == [0, 0, 0, 0, -1]
