"""Labels as Spark ML needs them: a double, which for classes is the index in the sorted list of labels."""

from collections.abc import Iterable
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from contract.errors import BadData
from contract.spec import ModelSpec

Labels = list[int] | list[str]


def labels_of(train: DataFrame, spec: ModelSpec) -> Labels | None:
    """0 and 1 for binary, the sorted names for multiclass, None for regression; BadData if there are fewer than two classes."""
    if spec.task == "regression":
        return None
    return labels_in((row[0] for row in train.select(spec.examples.label).distinct().collect()), spec)


def labels_in(classes: Iterable[Any], spec: ModelSpec) -> Labels:
    """As labels_of, from the classes that the training rows have."""
    seen = sorted(classes)
    if len(seen) < 2:
        held = f"only the class {seen[0]!r}" if seen else "no class"
        raise BadData(
            f"the training rows of {spec.name} hold {held} of {spec.examples.label}: widen the sources' window or correct the label"
        )
    return [0, 1] if spec.task == "binary" else seen


def with_label_index(examples: DataFrame, spec: ModelSpec, labels: Labels | None) -> DataFrame:
    """The label as a double; a class that `labels` does not know becomes −1."""
    label = spec.examples.label
    if labels is None:
        return examples
    index = label_index(F.col(label), labels).cast("double")
    return examples.withColumn(label, index.alias(label, metadata=_nominal(label, labels)))


def label_index(label: Column, labels: Labels) -> Column:
    """Index of `label` in `labels`; −1 where it is none of them."""
    position = F.call_function("array_position", label_array(labels), label)  # Spark 3.5's F.array_position takes no column
    return (position - 1).cast("int")


def label_array(labels: Labels) -> Column:
    kind = "string" if isinstance(labels[0], str) else "double"
    return F.array(*(F.lit(value).cast(kind) for value in labels))


def _nominal(name: str, labels: Labels) -> dict[str, Any]:
    """Column metadata with the classes: without it Spark ML finds the largest label in one more pass per fit."""
    return {"ml_attr": {"type": "nominal", "name": name, "vals": [str(label) for label in labels]}}
