"""Whatever is sent, the answer is a right one or a refusal that says why."""

import json
from functools import partial
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from serving import mlflow_protocol, v2_protocol
from serving.errors import RequestRefused
from serving.model import Model

MODEL = Model.load(Path(__file__).parent / "models" / "binary")

values = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
junk = st.recursive(
    values, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4), max_leaves=10
)
columns = st.permutations(["dep_delay", "distance", "carrier"]) | st.lists(st.text(max_size=3), max_size=4)
rows = st.lists(st.just([None, None, None]) | st.lists(junk, min_size=3, max_size=3) | junk, max_size=3)
tensors = st.fixed_dictionaries({
    "name": st.sampled_from(["dep_delay", "distance", "carrier"]),
    "datatype": st.sampled_from(["FP64", "INT64", "BOOL", "BYTES", "FP16"]),
    "shape": st.lists(st.integers(0, 3), max_size=3),
    "data": st.lists(junk, max_size=3),
})  # fmt: skip


EXAMPLES = settings(max_examples=200, deadline=None)


def answer_to(protocol, content):
    """Status and answer, as the server would send them."""
    try:
        return 200, json.loads(protocol(json.dumps(content).encode()).content)
    except RequestRefused as refused:
        return refused.status, refused.message


@EXAMPLES
@given(junk | st.fixed_dictionaries({"dataframe_split": st.fixed_dictionaries({"columns": columns, "data": rows})}))
def test_mlflow(content):
    status, answer = answer_to(partial(mlflow_protocol.invoke, MODEL), content)

    assert status in (200, 400)
    assert status == 400 or all(0 <= record["probability"] <= 1 for record in answer["predictions"])


@EXAMPLES
@given(junk | st.fixed_dictionaries({"inputs": st.lists(tensors, max_size=3, unique_by=lambda tensor: tensor["name"])}))
def test_v2(content):
    status, answer = answer_to(partial(v2_protocol.infer, MODEL, "demo", "7"), content)

    assert status in (200, 400)
    assert status == 400 or all(0 <= value <= 1 for value in answer["outputs"][1]["data"])


@EXAMPLES
@given(st.permutations(["dep_delay", "distance", "carrier"]), st.floats(-1e6, 1e6), st.sampled_from(["AA", "UA", None]))
def test_the_order_of_columns_does_not_matter(order, delay, carrier):
    row = {"dep_delay": delay, "distance": 3.0, "carrier": carrier}
    usual = MODEL.predict(("dep_delay", "distance", "carrier"), [[delay, 3.0, carrier]])

    assert MODEL.predict(tuple(order), [[row[name] for name in order]]) == usual
