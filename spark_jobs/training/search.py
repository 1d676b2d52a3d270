"""Chooses parameters: every candidate is scored on all rows, or, by successive halving, the best of them on growing shares.

Halving: K. Jamieson, A. Talwalkar, «Non-stochastic Best Arm Identification and Hyperparameter Optimization», AISTATS 2016.
"""

import hashlib
import json
import logging
import time
from collections.abc import Sequence
from functools import partial
from math import ceil, inf, isinf
from multiprocessing.pool import ThreadPool

from pyspark.sql import DataFrame

from contract.algorithms import is_xgboost
from contract.documents import Candidate, FittedIn
from contract.errors import BadData
from contract.metrics import LOWER_IS_BETTER
from contract.spec import ModelSpec
from spark_jobs.data.dataset import ValidationSplit
from spark_jobs.data.labels import Labels
from spark_jobs.training.candidates import FitPlan, plans_of, search_of
from spark_jobs.training.search_records import SearchRecords, SearchStore
from spark_jobs.training.spans import Span, span_of, validation_spans
from spark_jobs.training.trials import candidates_of

log = logging.getLogger(__name__)
FACTOR = 3  # of the candidates one in so many goes on, to so many times the rows
FEWEST_ROWS = 1_000  # to fit on a share: what is learned from fewer says little about the parameters


class CandidateSearch:
    """One search. `levels`: of the widest categorical column. `where` candidates are fitted; `kept`: where the ended ones are."""

    def __init__(self, spec: ModelSpec, labels: Labels | None, levels: int, seed: int, where: FittedIn, kept: SearchStore):
        self._spec, self._labels, self._seed, self._where = spec, labels, seed, where
        self._plans = plans_of(spec, levels, seed)
        self._records = SearchRecords(kept, self._hash())
        self._limit = 60 * (search_of(spec).max_minutes or inf)
        self._started = time.monotonic() - max(self._records.ended, default=0.0)

    def run(self, rows: DataFrame) -> tuple[Candidate, ...]:
        """Best first, those on a larger share of the rows before the others.

        `rows` have id, time, label index and features, and should be cached. Raises BadData where no candidate can be judged, or
        none has ended within `max_minutes`.
        """
        splits, plans, tried = validation_spans(rows, self._spec), dict(enumerate(self._plans)), list[Candidate]()
        for share in self._shares(splits):
            scored = self._score(plans, splits, share)
            self._refuse_late()
            tried = sorted((candidate for candidates in scored.values() for candidate in candidates), key=self._loss) + tried
            best_first = sorted(scored, key=lambda number: min(map(self._loss, scored[number])))
            plans = {number + len(self._plans): plans[number] for number in best_first[: ceil(len(plans) / FACTOR)]}
        self._refuse_undefined(tried[0])
        return tuple(tried)

    def _shares(self, splits: Sequence[ValidationSplit]) -> list[float]:
        halving = search_of(self._spec).method == "halving"
        return shares_of(len(self._plans), min(split.train.count() for split in splits)) if halving else [1.0]

    def _score(self, plans: dict[int, FitPlan], splits: Sequence[ValidationSplit], share: float) -> dict[int, Sequence[Candidate]]:
        """The plans that were reached in time; in `plans` and here by the number of their record."""
        scored = {number: self._records.candidates(number) for number in plans}
        left = [number for number, candidates in scored.items() if not candidates]
        if left and not self._is_over():
            spans = [span_of(split, self._spec, self._where, share) for split in splits]
            with ThreadPool(min(len(left), self._at_once(splits))) as pool:
                scored.update(zip(left, pool.map(partial(self._try, plans, spans), left, chunksize=1), strict=True))
        reached = {number: candidates for number, candidates in scored.items() if candidates}
        if len(reached) < len(plans):
            log.info(f"train: max_minutes ended the search after {len(reached)} of {len(plans)} fits on {share:.0%} of the rows")
        return reached

    def _try(self, plans: dict[int, FitPlan], spans: Sequence[Span], number: int) -> Sequence[Candidate]:
        if self._is_over():
            return ()
        candidates = candidates_of(plans[number], spans, self._spec, self._labels, self._seed)
        self._records.add(number, candidates, time.monotonic() - self._started)
        return candidates

    def _at_once(self, splits: Sequence[ValidationSplit]) -> int:
        """A fit of XGBoost takes all cores."""
        return 1 if is_xgboost(self._spec.algorithm.name) else splits[0].train.sparkSession.sparkContext.defaultParallelism

    def _is_over(self) -> bool:
        return bool(self._records.ended) and time.monotonic() - self._started >= self._limit

    def _loss(self, candidate: Candidate) -> float:
        return candidate.score if self._spec.gate.metric in LOWER_IS_BETTER else -candidate.score

    def _hash(self) -> str:
        """Of all that the candidates and their scores follow from, but for the rows, which the job's key stands for."""
        spec, plans = self._spec, [plan._asdict() for plan in self._plans]
        settings = spec.model_dump(mode="json", include={"algorithm", "split"})
        parts = [settings, spec.gate.metric, plans, self._seed, self._where]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _refuse_late(self) -> None:
        first = min(self._records.ended)
        if first > self._limit:
            raise BadData(
                f"no candidate of the search ended within max_minutes ({self._limit / 60:g}), the first took {first / 60:.1f}: "
                f"raise max_minutes in algorithm.search, or search with fewer rows or smaller models"
            )

    def _refuse_undefined(self, best: Candidate) -> None:
        if isinf(best.score):
            problem = "is undefined on the search's validation rows: do they hold one class? Raise validation_share"
            raise BadData(f"{self._spec.gate.metric} {problem}")


def shares_of(candidates: int, rows: int) -> list[float]:
    """Ends with all rows, on which three candidates or fewer are left: 27 candidates take 1/9, 1/3 and 1."""
    shares = [1.0]
    while candidates > FACTOR ** len(shares) and rows * shares[-1] / FACTOR >= FEWEST_ROWS:
        shares.append(1 / FACTOR ** len(shares))
    return shares[::-1]
