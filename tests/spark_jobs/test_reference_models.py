"""Reference models of a challenger. Champions here are plain SQL: the same rows, other predictions."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pyspark.ml import PipelineModel
from pyspark.ml.feature import SQLTransformer
from pyspark.sql import DataFrame, Row, SparkSession

from contract.documents import Snapshot
from contract.spec import ModelSpec
from spark_jobs.comparison.baseline import with_baseline
from spark_jobs.comparison.holdout import HoldoutFacts, scored_by
from spark_jobs.comparison.reference_models import Incomparable, check_comparable, seen_until, with_version
from spark_jobs.tracking.model_versions import Version
from tests.spark_jobs.runs import AS_OF, run_of, write_snapshot

SPEC = {
    "name": "delay",
    "description": "how late?",
    "owner": "ops",
    "sources": {"flights": {"format": "parquet", "path": "flights"}},
    "examples": {"id": "id", "time": "at", "label": "late", "numeric": ["delay"]},
    "task": "regression",
    "split": {"holdout": "10d"},
    "algorithm": {"name": "linear_regression"},
    "gate": {"metric": "rmse"},
}


def spec_with(**changes: object) -> ModelSpec:
    return ModelSpec.model_validate({**SPEC, **changes})


def version(answer: str = "delay", sql: str | None = None, **changes: object) -> Version:
    pipeline = PipelineModel([SQLTransformer(statement=f"SELECT *, double({answer}) AS prediction FROM __THIS__")])
    until = datetime(2026, 1, 10, tzinfo=UTC)
    fields = {"train_until": until, "as_of": datetime(2026, 1, 21, tzinfo=UTC), "spec": spec_with()}
    return Version(**{**fields, **changes}, pipeline=pipeline, sql=sql, labels=None, params={}, onnx=Path("onnx"), mlflow_run="r")


@pytest.fixture(scope="module")
def flights(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """Ten, of which the last eight are the holdout."""
    rows = [(f"f{i}", datetime(2026, 1, 25 if i > 1 else 12, tzinfo=UTC), 10.0 * i, 9.0 * i) for i in range(10)]
    frame = spark.createDataFrame(rows, "id string, at timestamp, late double, delay double")
    return write_snapshot(tmp_path_factory.mktemp("snapshot"), flights=frame)


def joined(spark: SparkSession, snapshot: Snapshot, champion: Version, until: datetime | None = None) -> list[Row]:
    challenger = version()
    answers = challenger.pipeline.transform(spark.read.parquet(f"{snapshot.uri}/flights").where("id > 'f1'"))
    scored = scored_by(challenger, answers, HoldoutFacts(8, 0.0), run_of(spec_with()), snapshot)
    return with_version(scored, champion, "champion", until).orderBy("id").collect()


def test_both_answer_the_same_rows(spark: SparkSession, flights: Snapshot) -> None:
    rows = joined(spark, flights, version("delay * 2"))

    assert [row.id for row in rows] == ["f2", "f3", "f4", "f5", "f6", "f7", "f8", "f9"]
    assert [row.challenger.error for row in rows] == [-2.0, -3.0, -4.0, -5.0, -6.0, -7.0, -8.0, -9.0]
    assert [row.reference.error for row in rows] == [16.0, 24.0, 32.0, 40.0, 48.0, 56.0, 64.0, 72.0]


def test_the_champion_s_features_come_from_its_own_sql(spark: SparkSession, flights: Snapshot) -> None:
    spec = spec_with(examples={**SPEC["examples"], "numeric": ["halved"], "sql": "old.sql"})

    rows = joined(spark, flights, version("halved", sql="SELECT *, delay / 2 AS halved FROM flights", spec=spec))

    assert [row.reference.error for row in rows] == [-11.0, -16.5, -22.0, -27.5, -33.0, -38.5, -44.0, -49.5]


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELECT id, at, late + 1 AS late, delay FROM flights", "8 of 8 holdout rows have another label"),
        ("SELECT id, at, if(id = 'f4', 0, late) AS late, delay FROM flights", "1 of 8 holdout rows have another label"),
        ("SELECT * FROM flights WHERE id != 'f9'", "gives 7 of the 8 holdout rows; at least 90% are needed"),
        ("SELECT * FROM flights WHERE id = 'f0'", "gives 0 of the 8 holdout rows"),
        ("SELECT * FROM flights UNION ALL SELECT * FROM flights WHERE id = 'f5'", "gives 9 rows for 8 ids of the holdout"),
        (
            "SELECT * FROM flights UNION ALL SELECT concat('more ', id), at, late, delay FROM flights",
            "the challenger's feature SQL leaves 8 of the 16 holdout rows that the champion's own feature SQL gives",
        ),
        ("SELECT id, at, late FROM flights", "does not fit this snapshot: .*delay is missing"),
        ("SELECT id, at, late, speed AS delay FROM flights", "does not fit this snapshot: .*speed"),
    ],
)
def test_a_champion_without_the_same_rows_and_labels_is_incomparable(
    spark: SparkSession, flights: Snapshot, sql: str, reason: str
) -> None:
    with pytest.raises(Incomparable, match=reason):
        joined(spark, flights, version(sql=sql))


HOLDOUT_START = datetime(2026, 1, 22, tzinfo=UTC)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"spec": spec_with(task="binary", algorithm={"name": "gbt_classifier"}, gate={"metric": "auc"})}, "task is binary"),
        ({"spec": spec_with(examples={**SPEC["examples"], "label": "very_late"})}, "label is very_late, the challenger's late"),
        ({"spec": spec_with(examples={**SPEC["examples"], "id": "tail"})}, "id is tail, the challenger's id"),
        ({"spec": spec_with(examples={**SPEC["examples"], "time": None}, split={"holdout": 0.2})}, "time column is absent"),
        ({"spec": spec_with(sources={"flights": {"format": "parquet", "path": "other"}})}, "reads source flights from other"),
        ({"spec": spec_with(sources={"trains": {"format": "parquet", "path": "t"}})}, "trains from t, the challenger has no such"),
        ({"spec": spec_with(algorithm={"name": "gbt_regressor"}, split={"holdout": "3d"})}, None),
    ],
)
def test_only_a_champion_that_answers_the_same_question_is_comparable(
    spark: SparkSession, changes: dict, reason: str | None
) -> None:
    if reason is None:
        check_comparable(spec_with(), version(**changes), "champion")
    else:
        with pytest.raises(Incomparable, match=reason):
            check_comparable(spec_with(), version(**changes), "champion")


@pytest.mark.parametrize(
    ("theirs", "ours", "reason"),
    [
        ({"window": "60d"}, {"window": "60d"}, None),
        ({"window": "30d"}, {"window": "60d"}, None),
        ({"window": "60d"}, {}, None),
        ({"window": "60d"}, {"window": "30d"}, "needs a window of 60d of source flights, and the snapshot holds 30d"),
        ({}, {"window": "30d"}, "needs a window of all of source flights"),
        ({"time_column": "left"}, {}, "with another time_column"),
        ({"format": "csv", "columns": {"id": "string"}}, {}, "with another format and columns"),
    ],
)
def test_a_champion_finds_in_the_snapshot_what_its_sql_looks_back_on(
    spark: SparkSession, theirs: dict, ours: dict, reason: str | None
) -> None:
    def reading(how: dict) -> ModelSpec:
        return spec_with(sources={"flights": {"format": "parquet", "path": "flights", "time_column": "at", **how}})

    champion = version(spec=reading(theirs))
    if reason is None:
        check_comparable(reading(ours), champion, "champion")
    else:
        with pytest.raises(Incomparable, match=reason):
            check_comparable(reading(ours), champion, "champion")


JUST_BEFORE, LATER = datetime(2026, 1, 21, 23, 59, tzinfo=UTC), datetime(2026, 1, 25, tzinfo=UTC)


@pytest.mark.parametrize(
    ("gap", "changes", "seen"),
    [
        ("0d", {"train_until": JUST_BEFORE}, None),
        ("0d", {"train_until": HOLDOUT_START}, HOLDOUT_START),
        ("0d", {"train_until": LATER}, LATER),
        ("0d", {"train_until": None, "as_of": JUST_BEFORE}, None),
        ("0d", {"train_until": None, "as_of": LATER}, LATER),
        # Rows within the gap after its training count as seen.
        ("2d", {"train_until": datetime(2026, 1, 19, tzinfo=UTC)}, None),
        ("2d", {"train_until": datetime(2026, 1, 21, tzinfo=UTC)}, datetime(2026, 1, 23, tzinfo=UTC)),
    ],
)
@pytest.mark.parametrize("delay_d", [0, 3])
def test_holdout_rows_that_the_champion_has_learned_from_do_not_count(
    spark: SparkSession, gap: str, changes: dict, seen: datetime | None, delay_d: int
) -> None:
    """Label delay moves the holdout, and with it `seen_until`."""
    spec = spec_with(split={"holdout": "10d", "gap": gap, "label_delay": f"{delay_d}d"})

    assert seen_until(spec, version(**changes), AS_OF + timedelta(days=delay_d)) == seen


def test_rows_that_the_champion_has_seen_are_left_out(spark: SparkSession, flights: Snapshot) -> None:
    """All flights are of the 25th."""
    assert len(joined(spark, flights, version(), datetime(2026, 1, 24, 23, tzinfo=UTC))) == 8
    with pytest.raises(Incomparable, match="the champion has learned from all rows of the holdout"):
        joined(spark, flights, version(), LATER)


@pytest.mark.parametrize(("share", "comparable"), [(0.2, True), (0.3, True), (0.1, False)])
def test_a_champion_that_kept_back_fewer_ids_has_learned_from_the_holdout(
    spark: SparkSession, share: float, comparable: bool
) -> None:
    def hashed(holdout: float) -> ModelSpec:
        return spec_with(examples={**SPEC["examples"], "time": None}, split={"holdout": holdout})

    champion = version(spec=hashed(share), train_until=None)

    if comparable:
        check_comparable(hashed(0.2), champion, "champion")
    else:
        with pytest.raises(Incomparable, match=r"held out 0\.1 of the ids and the challenger 0\.2"):
            check_comparable(hashed(0.2), champion, "champion")


@pytest.mark.parametrize(
    ("gate", "predicted"),
    [
        ({"metric": "rmse"}, 22.0),
        ({"metric": "r2"}, 22.0),
        ({"metric": "mae"}, 3.0),
        ({"metric": "quantile_loss", "quantile": 0.2}, 1.0),
        ({"metric": "sharpe"}, 1.0),  # who buys and holds
    ],
)
def test_the_regression_baseline_is_the_constant_that_its_metric_likes_best(
    spark: SparkSession, gate: dict, predicted: float
) -> None:
    train = spark.createDataFrame([(label,) for label in (1.0, 2.0, 3.0, 4.0, 100.0)], "late double")
    holdout = spark.createDataFrame([(10.0,)], "late double")

    answer = with_baseline(holdout, train, spec_with(gate=gate), 5.0).first().reference

    assert tuple(answer) == (predicted - 10.0, 10.0, 5.0)


def test_the_baseline_of_a_season_is_the_label_of_the_same_hour_one_season_earlier(spark: SparkSession) -> None:
    def rows(*values: tuple[str, float, str | None]) -> DataFrame:
        texts = spark.createDataFrame(list(values), "at string, late double, shop string")
        return texts.selectExpr("cast(at AS timestamp) AS at", "late", "shop")

    train = rows(
        ("2026-01-05 10:00:00", 99.0, "a"),  # a Monday, more than a week before the newest row
        ("2026-01-12 10:00:00", 1.0, "a"),
        ("2026-01-12 10:30:00", 3.0, "a"),
        ("2026-01-12 10:00:00", 7.0, "b"),
        ("2026-01-13 10:00:00", 5.0, "a"),
    )
    holdout = rows(
        ("2026-01-19 10:45:00", 0.0, "a"),
        ("2026-01-26 10:00:00", 0.0, "b"),
        ("2026-01-20 10:00:00", 0.0, "a"),
        ("2026-01-21 10:00:00", 0.0, "a"),
    )
    spec = spec_with(gate={"metric": "mae", "season": "7d", "blocks": ["shop"]})

    answers = with_baseline(holdout, train, spec, 0.0).orderBy("at").collect()

    assert [row.reference.error for row in answers] == [2.0, 5.0, 5.0, 7.0]  # where nothing is known: the median


def test_the_baseline_of_two_classes_answers_their_training_shares(spark: SparkSession) -> None:
    train = spark.createDataFrame([(1.0,), (0.0,), (0.0,), (0.0,)], "late double")
    holdout = spark.createDataFrame([(1.0,), (0.0,)], "late double")
    spec = spec_with(task="binary", algorithm={"name": "gbt_classifier"}, gate={"metric": "auc"})

    rows = with_baseline(holdout, train, spec, 0.0).select("reference.*").collect()

    assert [tuple(row) for row in rows] == [(0.25, 0.25, 1), (0.75, 0.25, 0)]


@pytest.mark.parametrize(
    ("gate", "always"),
    [
        ({"metric": "accuracy"}, 0.0),
        ({"metric": "f1"}, 1.0),  # 2·1/(2·1 + 3) against 0
        ({"metric": "recall"}, 1.0),
        ({"metric": "precision"}, 1.0),  # always no has none
        ({"metric": "expected_cost", "costs": {"false_positive": 1, "false_negative": 2}}, 0.0),  # 2 against 3, by four
        ({"metric": "expected_cost", "costs": {"false_positive": 1, "false_negative": 5}}, 1.0),
    ],
)
def test_where_yes_or_no_counts_the_baseline_says_always_one_of_them(spark: SparkSession, gate: dict, always: float) -> None:
    train = spark.createDataFrame([(1.0,), (0.0,), (0.0,), (0.0,)], "late double")
    spec = spec_with(task="binary", algorithm={"name": "gbt_classifier"}, gate=gate)

    assert with_baseline(train.limit(1), train, spec, 0.0).first().reference.score == always


def test_the_baseline_of_many_classes_gives_nothing_to_one_it_never_saw(spark: SparkSession) -> None:
    train = spark.createDataFrame([("b",), ("b",), ("a",), ("c",)], "late string")
    holdout = spark.createDataFrame([("a",), ("b",), ("z",)], "late string")
    spec = spec_with(task="multiclass", algorithm={"name": "logistic_regression"}, gate={"metric": "log_loss"})

    rows = with_baseline(holdout, train, spec, 0.0).select("reference.*").collect()

    assert [tuple(row) for row in rows] == [(0.25, "a", "b", 0.0), (0.5, "b", "b", 1.0), (0.0, "z", "b", 0.0)]
