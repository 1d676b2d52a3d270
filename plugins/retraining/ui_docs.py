"""Markdown texts of the Airflow UI for a model and its steps."""

from typing import NamedTuple

from contract.base_model import format_duration
from contract.platform import Platform
from contract.spec import ModelSpec


class Page(NamedTuple):
    title: str
    text: str


STEPS = {
    "freeze_run": Page(
        "Freeze run",
        "Freezes the run: spec, SQL, suites, platform, `as_of` and the live version. Every later step reads only this document.",
    ),
    "cluster": Page("Make cluster", "Creates this run's own cluster, or finds the one of an earlier try; waits until it is up."),
    "end_cluster": Page(
        "End cluster",
        "Terminates this run's own cluster after its Spark jobs, also if they failed. An idle cluster also terminates by itself.",
    ),
    "validate": Page(
        "Validate data",
        "Writes the sources' windows as a snapshot, reads it back and checks it. Bad data stops the run; see the report.",
    ),
    "train": Page(
        "Train challenger",
        "Searches and fits on the snapshot without its holdout rows, and registers a version in MLflow.",
    ),
    "compare": Page(
        "Compare on holdout",
        "Scores challenger and live version on the same holdout rows, and verifies that the ONNX model predicts as Spark does.",
    ),
    "decide": Page(
        "Decide",
        "Promote, keep or inconclusive, by the spec's gate. Unless it is promote, the run ends green; see the XCom `reason`. "
        "Where the spec requires approval, a person decides first; clear this task to be asked whether to override its verdict.",
    ),
    "package": Page(
        "Package image", "Packages the version as an OCI image, identified by its digest: the same version gives the same digest."
    ),
    "check": Page(
        "Check image",
        "Requests a check: the controller starts the image alone and sends it the golden rows. Holds no slot while it waits.",
    ),
    "release": Page(
        "Release",
        "Requests a release: the controller moves traffic to the image step by step, and back if it misbehaves. "
        "The release continues if Airflow stops.",
    ),
}


def model(spec: ModelSpec, platform: Platform) -> str:
    rows = {
        "Owner": spec.owner,
        "Task": f"{spec.task}, label `{spec.examples.label}`",
        "Sources": ", ".join(f"`{name}`" for name in spec.sources),
        "Features": f"{len(spec.examples.numeric)} numeric, {len(spec.examples.categorical)} categorical",
        "Algorithm": f"`{spec.algorithm.name}`",
        "Gate": f"{spec.gate.metric}, {spec.gate.rule.replace('_', ' ')}, margin {spec.gate.margin:g}",
        "Canary": " → ".join(f"{percent} %" for percent in spec.serving.canary),
        "Schedule": f"`{spec.schedule}` UTC" if spec.schedule else "manual",
        "Deadline": format_duration(spec.deadline),
        "Platform": platform.name,
        "Endpoint": f"{platform.serving.url}/{spec.name}/",
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return f"{spec.description}\n\n| | |\n|---|---|\n{table}\n"


def broken(name: str, problems: list[str]) -> str:
    lines = "\n".join(f"    {line}" for problem in problems for line in problem.splitlines())
    return f"`{name}` is invalid. Fix the problems below; the DAG then comes back by itself.\n\n{lines}\n"
