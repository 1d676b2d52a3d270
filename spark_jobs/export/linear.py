"""Logistic and linear regression: one Gemm."""

import numpy as np

from spark_jobs.export.graph import Graph
from spark_jobs.export.reading import Stage, matrix, vector
from spark_jobs.export.scores import Scores
from spark_jobs.export.stages import Slots


def logistic_regression(stage: Stage, graph: Graph, slots: Slots) -> Scores:
    stage.require("threshold", 0.5)
    stage.require("thresholds", None)
    classes, _, intercepts, coefficients, multinomial = stage.row()
    weights, offsets = matrix(coefficients), vector(intercepts)
    if not multinomial:  # one margin m; Spark's raw prediction is (−m, m)
        weights, offsets = np.concatenate([-weights, weights]), np.concatenate([-offsets, offsets])
    raw = _gemm(graph, slots, weights, offsets)
    return Scores(raw, classes, "Softmax" if multinomial else "Sigmoid")


def linear_regression(stage: Stage, graph: Graph, slots: Slots) -> Scores:
    intercept, coefficients, *_ = stage.row()
    return Scores(_gemm(graph, slots, vector(coefficients)[np.newaxis], np.array([intercept])))


def _gemm(graph: Graph, slots: Slots, weights: np.ndarray, offsets: np.ndarray) -> str:
    """`weights`: one row per output."""
    return graph.add("Gemm", graph.dense(slots), graph.constant(weights.T), graph.constant(offsets))
