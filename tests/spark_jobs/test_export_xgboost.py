"""XGBoost's margins against ONNX's, bit by bit, on rows with NaN and values at thresholds: no JVM."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import xgboost
from onnx import TensorProto

from spark_jobs.export import xgboost_trees
from spark_jobs.export.graph import Graph, Slot
from spark_jobs.export.reading import Stage, UnsupportedStage
from spark_jobs.export.stages import Slots
from spark_jobs.export.trees import Forest

ROWS, WIDTH, LEVELS = 10_000, 8, 5  # of the numbers, and the levels of a one-hot column after them
SLOTS: Slots = (*(Slot("x", column) for column in range(WIDTH)), *(Slot("x", WIDTH, levels=LEVELS, level=n) for n in range(LEVELS)))
CASES = {
    "binary": ({"objective": "binary:logistic"}, 200, 5),
    "binary, 800 trees": ({"objective": "binary:logistic"}, 800, 6),
    "three classes": ({"objective": "multi:softprob", "num_class": 3}, 60, 4),
    "around 1e5": ({"objective": "reg:squarederror"}, 200, 5),
    "absolute error": ({"objective": "reg:absoluteerror"}, 50, 4),
}


def numbers(chance: np.random.Generator, rows: int) -> np.ndarray:
    """Doubles, of which some are NaN; the last column is a level."""
    made = chance.normal(size=(rows, WIDTH + 1)) * 10.0 ** np.arange(-4, WIDTH - 3)
    made[chance.random(made.shape) < 0.1] = np.nan
    made[:, WIDTH] = chance.integers(0, LEVELS, rows)
    return made


def vectors(rows: np.ndarray) -> np.ndarray:
    """As Spark's stages hand them to XGBoost: the level one-hot, all in single precision."""
    return np.column_stack([rows[:, :WIDTH], rows[:, WIDTH:] == np.arange(LEVELS)]).astype(np.float32)


@cache
def booster_of(case: str) -> xgboost.Booster:
    params, trees, depth = CASES[case]
    chance = np.random.default_rng(1)
    rows = numbers(chance, 1500)
    signal = np.nan_to_num(rows[:, 4]) + rows[:, WIDTH] + chance.normal(size=len(rows))
    labels = {"b": signal > 3, "m": np.digitize(signal, [1.5, 3]), "r": 1e5 + 100 * signal}[params["objective"][0]]
    train = xgboost.QuantileDMatrix(vectors(rows), labels)
    return xgboost.train({**params, "max_depth": depth, "seed": 1, "nthread": 2}, train, trees)


def rows_at_thresholds(booster: xgboost.Booster) -> np.ndarray:
    """The rows to score: half are thresholds and the doubles next to them, which single precision cannot tell from one another."""
    rows = numbers(np.random.default_rng(2), ROWS)
    splits = booster.trees_to_dataframe().query("Feature != 'Leaf'")
    chance = np.random.default_rng(3)
    for column in range(WIDTH):
        at = splits.Split[splits.Feature == f"f{column}"].to_numpy(dtype=np.float32)
        exact = chance.choice(at, ROWS // 2).astype(np.float64)
        rows[: ROWS // 2, column] = np.nextafter(exact, chance.choice([-np.inf, np.inf, 0.0], ROWS // 2))
    return rows


def stage_of(booster: xgboost.Booster, folder: Path) -> Stage:
    (folder / "model").mkdir()
    (folder / "model" / "part-00000").write_bytes(booster.save_raw("json"))
    return Stage("SparkXGBClassifierModel", "typed", {}, {}, folder)


def one_thread() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return options


def margins_of(stage: Stage, rows: np.ndarray) -> np.ndarray:
    """double[N, targets] of the exported graph, before the link."""
    graph = Graph()
    graph.input("x", TensorProto.DOUBLE, WIDTH + 1)
    learner = xgboost_trees.learner_of(stage)
    margins = graph.add("Identity", xgboost_trees.margins(learner, stage, graph, SLOTS), name="margins")
    targets = max(1, int(learner["learner_model_param"]["num_class"]))
    model = graph.model({margins: (TensorProto.DOUBLE, ["N", targets])})
    return onnxruntime.InferenceSession(model.SerializeToString(), one_thread()).run(None, {"x": rows})[0]


def differing(booster: xgboost.Booster, folder: Path) -> int:
    """Rows whose margin is not XGBoost's."""
    rows = rows_at_thresholds(booster)
    expected = booster.inplace_predict(vectors(rows), predict_type="margin").astype(np.float64).reshape(ROWS, -1)
    return int((margins_of(stage_of(booster, folder), rows) != expected).any(axis=1).sum())


@pytest.mark.parametrize("case", CASES)
def test_margins_are_xgboosts_bit_by_bit(case: str, tmp_path: Path):
    assert differing(booster_of(case), tmp_path) == 0


def test_without_the_cast_to_single_precision_rows_next_to_thresholds_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(xgboost_trees.SingleForest, "element", Forest.element)

    assert differing(booster_of("binary"), tmp_path) > 1000


def test_a_base_score_that_is_added_last_is_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    booster, rows = booster_of("around 1e5"), numbers(np.random.default_rng(2), ROWS)
    stage, expected = stage_of(booster, tmp_path), booster.inplace_predict(vectors(rows), predict_type="margin").reshape(-1, 1)
    (base,) = xgboost_trees.base_margins(xgboost_trees.learner_of(stage))
    monkeypatch.setattr(xgboost_trees, "base_margins", lambda learner: np.zeros(1, dtype=np.float32))

    added_last = margins_of(stage, rows).astype(np.float32) + base

    assert np.abs(added_last - expected).max() > 1e-2  # of a number around 1e5


def test_splits_of_another_kind_and_other_boosters_are_refused(tmp_path: Path):
    stage = stage_of(booster_of("three classes"), tmp_path)
    file = tmp_path / "model" / "part-00000"
    saved = json.loads(file.read_text())
    saved["learner"]["gradient_booster"]["model"]["trees"][0]["split_type"][0] = 1
    file.write_text(json.dumps(saved))
    with pytest.raises(UnsupportedStage, match="a categorical split cannot be exported to ONNX; supported: splits of numbers"):
        margins_of(stage, np.zeros((1, WIDTH + 1)))

    saved["learner"]["gradient_booster"]["name"] = "dart"
    file.write_text(json.dumps(saved))
    with pytest.raises(UnsupportedStage, match="dart cannot be exported to ONNX; supported: gbtree"):
        xgboost_trees.learner_of(stage)
