"""Every kind of mistake in a spec, one file each under broken_specs/, with its message."""

from datetime import date, timedelta
from pathlib import Path

import pytest

from contract.errors import InvalidFile
from contract.spec import ModelSpec, parse_spec

FOLDER = Path(__file__).parent / "broken_specs"
BINARY_METRICS = "log_loss, brier, auc, average_precision, accuracy, balanced_accuracy, f1, precision, recall, expected_cost"
XGBOOST = (
    "n_estimators, learning_rate, max_depth, max_leaves, max_bin, min_child_weight, gamma, reg_alpha, reg_lambda, subsample, "
    "colsample_bytree, colsample_bylevel, colsample_bynode, grow_policy, booster"
)
EXPECTED = {
    "search_of_two_methods": ["algorithm.search.random: grid is there, too; keep one of them"],
    "search_without_max_candidates": ["algorithm.search.max_candidates: missing; halving needs the number of its candidates"],
    "search_of_text": [
        "algorithm.search.random.maxDepth: must be a list such as [3, 5] or a distribution such as {low: 3, high: 8} (is 5)",
        "algorithm.search.max_candidates: must be at most 10000 (is 20000)",
        "algorithm.search.max_minutes: must be more than 0 (is 0)",
    ],
    "search_distributions": [
        "algorithm.search.random.stepSize.low: must be more than 0 where log is true",
        "algorithm.search.random.minInfoGain.high: must be more than low, 0.2",
        "algorithm.search.random.maxBins.high: missing",
        "algorithm.search.random.maxBins.hihg: unknown key (did you mean 'high'?)",
        "algorithm.search.random.subsamplingRate.low: must be a number (is true)",
    ],
    "search_distribution_of_wrong_type": [
        "algorithm.search.halving.max_depth.low: must be a whole number (is 2.5)",
        "algorithm.search.halving.grow_policy: has no distribution; write a list of its values, each depthwise or lossguide",
        "algorithm.search.halving.n_estimators.low: must be a whole number from 1 to 100,000 (is 0)",
        "algorithm.search.halving.min_child: xgboost_classifier has no such parameter (did you mean 'min_child_weight'?)",
        "algorithm.search.halving.n_estimators: early_stopping_rounds chooses it",
    ],
    "grid_above_max_candidates": [
        "algorithm.search.grid: has 4 candidates, more than max_candidates (3); remove values, or write random"
    ],
    "early_stopping_of_trees_in_the_grid": ["algorithm.search.grid.n_estimators: early_stopping_rounds chooses it"],
    "early_stopping_without_boosting": ["algorithm.search.early_stopping_rounds: is for XGBoost, not for logistic_regression"],
    "early_stopping_of_no_rounds": ["algorithm.search.early_stopping_rounds: must be at least 1 (is 0)"],
    "xgboost_params": [
        "algorithm.params.n_estimators: must be a whole number from 1 to 100,000 (is 0)",
        f"algorithm.params.eta: xgboost_classifier has no such parameter (known: {XGBOOST})",
        "algorithm.params.booster: must be gbtree (is 'dart')",
        "algorithm.params.max_depth: must be a whole number (is 5.5)",
        f"algorithm.params.nthread: xgboost_classifier has no such parameter (known: {XGBOOST})",
    ],
    "xgboost_objective": [f"algorithm.params.objective: xgboost_classifier has no such parameter (known: {XGBOOST})"],
    "xgboost_features": [
        "features.encode: index would order the categories for XGBoost; write one_hot",
        "features.scale: XGBoost's trees are the same at any scale; remove it",
    ],
    "folds_without_time": ["split.folds: needs a holdout by time"],
    "folds_as_long_as_the_window": [
        "split.holdout: with split.folds as long as the longest source window, no rows are left to train on"
    ],
    "guard_on_folds_without_folds": ["gate.guards: over folds needs split.folds"],
    "blocks_of_the_label": ["gate.blocks: late is the label or the time; write time for blocks of time"],
    "blocks_too_many": ["gate.blocks: must be time, one column, or both"],
    "blocks_by_time_without_time": ["gate.blocks: time needs examples.time"],
    "cost_without_costs": ["gate.costs: missing; expected_cost needs them, such as {false_positive: 1, false_negative: 5}"],
    "slices_of_a_number": [
        "gate.slices.columns: weight is a number; use another, categorical column",
        "gate.slices.columns: late is the label; use another, categorical column",
    ],
    "slices_of_the_blocks": [
        "gate.slices.columns: depot is what gate.blocks are made of, so that each slice would be one block; "
        "use another, categorical column"
    ],
    "column_of_the_jobs": [
        "examples: the column name __depot is reserved for the jobs; rename it in the SQL",
        "examples: the column name prediction is reserved for the jobs; rename it in the SQL",
    ],
    "slices_twice": ["gate.slices.columns: listed twice: depot"],
    "budget_without_schedule": ["gate.yearly_false_promotions: needs a schedule, which says how many evaluations a year share it"],
    "season_of_classes": ["gate.season: needs task regression and examples.time"],
    "label_delay_without_time": ["split.label_delay: needs a holdout by time"],
    "label_delay_as_long_as_the_window": [
        "split.holdout: with split.label_delay as long as the longest source window, no rows are left to train on"
    ],
    "leak_of_no_feature": ["examples.allow_leakage: weigth is no feature"],
    "mask_of_no_feature": ["serving.replay.mask: weigth is no feature"],
    "approval_maybe": ["gate.approval: must be 'required' (is 'maybe')"],
    "unknown_key": [
        "owner: missing",
        "ownr: unknown key (did you mean 'owner'?)",
    ],
    "unknown_key_inside": [
        "examples.nmeric: unknown key (did you mean 'numeric'?)",
    ],
    "unknown_key_in_a_source": [
        "sources.parcels.windw: unknown key (did you mean 'window'?)",
    ],
    "unknown_key_unlike_any": [
        "split.colour: unknown key (known here: holdout, gap, folds, label_delay, max_unlabelled)",
    ],
    "missing_keys": [
        "task: missing",
    ],
    "empty_value": [
        "owner: must be text (is empty)",
    ],
    "empty_text": [
        "owner: must not be empty (is '')",
    ],
    "name_written": [
        "name: must not be set: it is the file's name",
    ],
    "key_twice": [
        "line 3, column 1: not YAML: key 'owner' is written twice",
    ],
    "not_yaml": [
        "line 19, column 8: not YAML: while parsing a flow mapping did not find expected ',' or '}'",
    ],
    "not_a_mapping": [
        "the file is not a mapping of keys to values",
    ],
    "empty_file": [
        "the file is not a mapping of keys to values",
    ],
    "duration_without_unit": [
        "sources.parcels.window: must be a duration, a number with its unit ms, s, m, h or d, such as 90m (is 60)",
    ],
    "deadline_in_words": [
        "deadline: must be a duration, a number with its unit ms, s, m, h or d, such as 90m (is 'soon')",
    ],
    "holdout_without_unit": [
        "split.holdout: must be a duration such as 14d, or a share up to 0.5 (is 14)",
    ],
    "holdout_share_too_large": [
        "split.holdout: must be a duration such as 14d, or a share up to 0.5 (is 0.7)",
    ],
    "holdout_zero": [
        "split.holdout: must be a duration such as 14d, or a share up to 0.5 (is '0d')",
    ],
    "holdout_share_with_time": [
        "split.holdout: examples with time are split by a duration such as 14d, so that training precedes the holdout",
    ],
    "holdout_duration_without_time": [
        "split.holdout: a duration needs examples.time; rows without time are split by a share such as 0.2",
    ],
    "holdout_as_long_as_the_window": [
        "split.holdout: with split.gap as long as the longest source window, no rows are left to train on",
    ],
    "window_zero": [
        "sources.parcels.window: must be longer than zero (is '0d')",
    ],
    "window_without_time_column": [
        "sources.parcels.window: needs time_column",
        "sources.parcels.max_age: needs time_column",
    ],
    "csv_without_columns": [
        "sources.parcels.columns: missing; csv has no types of its own (write name: type, such as distance: double)",
    ],
    "format_unknown": [
        "sources.parcels.format: parqet is unknown (did you mean 'parquet'?)",
    ],
    "source_name_with_capital": [
        "sources.Parcels: must be a name of small letters, digits and _ that starts with a letter (is 'Parcels')",
    ],
    "no_sources": [
        "sources: must not be empty",
    ],
    "several_sources_without_sql": [
        "examples.sql: missing; with several sources a query must join them",
    ],
    "expectations_of_no_source": [
        "expectations.parcles: no such source",
    ],
    "sql_outside_the_folder": [
        "examples.sql: must be the name of a .sql file beside the spec (is '../late.sql')",
    ],
    "column_with_blank": [
        "examples.id: must be a column name of letters, digits and _ that does not start with a digit (is 'parcel id')",
    ],
    "no_features": [
        "examples: numeric or categorical: at least one feature is needed",
    ],
    "feature_twice": [
        "examples: listed twice: weight",
    ],
    "label_as_feature": [
        "examples: late is the label and cannot be a feature",
    ],
    "id_as_feature": [
        "examples: parcel_id is the id and cannot be a feature",
    ],
    "list_as_text": [
        "examples.numeric: must be a list such as [a, b] (is 'weight')",
    ],
    "task_unknown": [
        "task: must be 'binary', 'multiclass' or 'regression' (is 'ranking')",
    ],
    "algorithm_unknown": [
        (
            "algorithm.name: must be 'logistic_regression', 'linear_regression', 'decision_tree_classifier', "
            "'decision_tree_regressor', 'random_forest_classifier', 'random_forest_regressor', 'gbt_classifier', "
            "'gbt_regressor', 'xgboost_classifier' or 'xgboost_regressor' (is 'xgboost')"
        ),
    ],
    "algorithm_of_another_task": [
        (
            "algorithm.name: linear_regression does not fit task binary (fitting: logistic_regression, "
            "decision_tree_classifier, random_forest_classifier, gbt_classifier, xgboost_classifier)"
        ),
    ],
    "param_unknown": [
        "algorithm.params.maxiter: logistic_regression has no such parameter (did you mean 'maxIter'?)",
    ],
    "weight_of_rows": [
        "examples.weight: unknown key (known here: sql, time, id, label, numeric, categorical, allow_leakage)",
        "algorithm.params.weightCol: logistic_regression has no such parameter (known: maxIter, regParam, "
        "elasticNetParam, tol, fitIntercept, standardization)",
    ],
    "param_of_wrong_type": [
        "algorithm.params.maxIter: must be a whole number (is 'many')",
    ],
    "grid_not_a_list": [
        "algorithm.search.grid.maxIter: must be a list such as [a, b] (is 20)",
    ],
    "grid_empty": [
        "algorithm.search.grid: must not be empty",
    ],
    "param_also_in_grid": [
        "algorithm.params.maxIter: is in search.grid, too",
    ],
    "handle_invalid_skip": [
        "features.handleInvalid: must be 'keep' or 'error' (is 'skip')",
    ],
    "metric_of_another_task": [
        f"gate.metric: rmse is no metric of task binary (known: {BINARY_METRICS})",
    ],
    "margin_negative": [
        "gate.margin: must be at least 0 (is -0.01)",
    ],
    "margin_infinite": [
        "gate.margin: must be a finite number (is inf)",
    ],
    "not_worse_without_margin": [
        "gate.margin: must be above 0 for rule not_worse: how much worse is acceptable",
    ],
    "confidence_of_one": [
        "gate.confidence: must be less than 1 (is 1)",
    ],
    "guard_without_limit": [
        "gate.guards.0: a guard has either min or max",
    ],
    "guard_of_another_task": [
        f"gate.guards: mae is no metric of task binary (known: {BINARY_METRICS})",
    ],
    "canary_falls": [
        "serving.canary: steps must rise and end at 100, such as [5, 25, 100]",
    ],
    "canary_stops_short": [
        "serving.canary: steps must rise and end at 100, such as [5, 25, 100]",
    ],
    "canary_of_zero": [
        "serving.canary.0: must be at least 1 (is 0)",
    ],
    "hold_zero": [
        "serving.hold: must be longer than zero (is '0s')",
    ],
    "max_hold_below_hold": [
        "serving.max_hold: is shorter than hold",
    ],
    "error_rate_of_two": [
        "serving.max_error_rate: must be less than 1 (is 2)",
    ],
    "requests_in_halves": [
        "serving.min_requests: must be a whole number (is 1.5)",
    ],
    "email_without_at": [
        "alerts.email.0: must be one address such as ops@example.com (is 'parcels')",
    ],
    "slack_maybe": [
        "alerts.slack: must be true or false (is 'maybe')",
    ],
    "start_in_words": [
        "start: must be a date such as 2013-03-01 (is 'soon')",
    ],
    "schedule_without_start": [
        "start: a schedule needs a first day",
    ],
    "end_before_start": [
        "end: 2012-01-01 is before start: 2013-01-01",
    ],
    "several_mistakes": [
        "owner: missing",
        "sources.parcels.window: must be a duration, a number with its unit ms, s, m, h or d, such as 90m (is 60)",
        "task: missing",
        "gate.metric: must be 'log_loss', 'brier', 'auc', 'average_precision', 'accuracy', 'balanced_accuracy', 'f1', 'precision', "
        "'recall', 'expected_cost', 'macro_f1', 'weighted_f1', 'rmse', 'mae', 'mape', 'r2', 'quantile_loss', 'mean_return' or "
        "'sharpe' (is 'loss')",
        "ownr: unknown key (did you mean 'owner'?)",
    ],
    "day_that_never_was": [
        "line 4, column 8: not YAML: 2013-02-30 (day is out of range for month)",
    ],
    "deadline_empty": [
        "deadline: must be a duration, a number with its unit ms, s, m, h or d, such as 90m (is empty)",
    ],
    "deadline_zero": [
        "deadline: must be longer than zero (is '0s')",
    ],
    "feature_twice_but_for_case": [
        "examples: listed twice: weight",
    ],
    "guard_as_text": [
        "gate.guards.0: must be a mapping of keys to values (is 'auc > 0.5')",
    ],
    "guard_not_a_number": [
        "gate.guards.0.min: must be a finite number (is nan)",
    ],
    "guard_unknown_key": [
        "gate.guards.0.mn: unknown key (did you mean 'min'?)",
    ],
    "indented_by_a_tab": [
        (
            "line 7, column 1: not YAML: while scanning for the next token found character that cannot start any token; "
            "indent with blanks, not tabs"
        ),
    ],
    "key_is_a_list": [
        "line 20, column 1: not YAML: a key must be text",
    ],
    "label_is_the_time": [
        "examples.label: sent is the time",
    ],
    "option_not_text": [
        "sources.parcels.options.mergeSchema: must be text (is true)",
    ],
    "p95_zero": [
        "serving.max_p95: must be longer than zero (is '0ms')",
    ],
    "param_is_a_list": [
        "algorithm.params.maxIter: must be one number, one text, true or false",
    ],
    "part_as_text": [
        "split: must be a mapping of keys to values (is '14d')",
    ],
    "several_mistakes_in_one_part": [
        "serving.canary: steps must rise and end at 100, such as [5, 25, 100]",
        "serving.max_hold: is shorter than hold",
    ],
    "text_begins_with_at": [
        (
            "line 2, column 8: not YAML: while scanning for the next token found character that cannot start any token; "
            "put this text in quotes"
        ),
    ],
    "text_holds_a_colon": [
        "line 1, column 21: not YAML: mapping values are not allowed in this context; put a text that holds «: » in quotes",
    ],
    "time_as_feature": [
        "examples: sent is the time and cannot be a feature",
    ],
    "two_documents": [
        "line 15, column 1: not YAML: expected a single document in the stream but found another document",
    ],
    "window_of_ages": [
        "sources.parcels.window: must be at most 36500d (is '99999999999d')",
    ],
}


def parse(path: Path) -> ModelSpec:
    return parse_spec(path.read_text(), path)


def test_every_broken_file_is_looked_at():
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(EXPECTED)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_mistake_is_told_where_it_is_and_what_is_wanted(name):
    with pytest.raises(InvalidFile) as caught:
        parse(FOLDER / f"{name}.yaml")

    assert caught.value.problems == EXPECTED[name]


def test_the_message_names_the_file_and_counts_its_problems():
    with pytest.raises(InvalidFile) as caught:
        parse_spec((FOLDER / "unknown_key.yaml").read_text(), Path("specs/late.yaml"))

    assert str(caught.value) == "specs/late.yaml: 2 problems: owner: missing; ownr: unknown key (did you mean 'owner'?)"


GOOD = """
description: Does a parcel arrive late?
owner: parcels
sources:
  parcels: {format: parquet, path: parcels}
examples: {id: parcel_id, label: late, numeric: [weight]}
task: binary
split: {holdout: 0.2}
algorithm: {name: gbt_classifier, params: {stepSize: 1}, search: {grid: {maxDepth: [3, 5]}}}
gate: {metric: auc}
"""


def test_a_small_spec_gets_careful_defaults():
    spec = parse_spec(GOOD, Path("late.yaml"))

    assert (spec.name, spec.schedule, spec.deadline) == ("late", None, timedelta(hours=2))
    assert (spec.gate.rule, spec.gate.margin, spec.gate.confidence) == ("better", 0.0, 0.95)
    assert (spec.serving.canary, spec.serving.hold, spec.serving.longest_hold) == (
        (5, 25, 100),
        timedelta(seconds=60),
        timedelta(minutes=10),
    )


def test_a_spec_survives_json_unchanged():
    text = GOOD.replace("0.2}", "14d, gap: 90m}").replace("{id:", "{time: sent, id:").replace("owner:", "start: 2013-03-01\nowner:")
    spec = parse_spec(text, Path("late.yaml"))

    assert ModelSpec.model_validate_json(spec.model_dump_json()) == spec
    assert (spec.start, spec.split.holdout, spec.split.gap) == (date(2013, 3, 1), timedelta(days=14), timedelta(minutes=90))


def test_a_spec_cannot_be_changed_after_it_was_parsed():
    spec = parse_spec(GOOD, Path("late.yaml"))

    with pytest.raises(ValueError, match="frozen"):
        spec.owner = "others"


@pytest.mark.parametrize("name", ["Late", "9late", "late-parcels"])
def test_a_model_is_named_by_its_file_in_small_letters(name):
    with pytest.raises(InvalidFile, match=rf"name: must be a name of small letters, .* \(is '{name}'\)"):
        parse_spec(GOOD, Path(f"{name}.yaml"))


def test_what_an_anchor_brings_is_merged_and_may_be_overridden():
    text = GOOD + "features: &careful {scale: true, impute: mean}\n"
    spec = parse_spec(text.replace("{scale", "{<<: {impute: mode}, scale"), Path("late.yaml"))

    assert (spec.features.scale, spec.features.impute) == (True, "mean")
