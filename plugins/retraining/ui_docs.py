"""What people read in the Airflow UI about a model and its steps (Markdown)."""

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
    "cluster": Page(
        "Make cluster", "Makes this run's own cluster, or finds the one that an earlier try made; waits until it is up."
    ),
    "end_cluster": Page(
        "End cluster", "Ends this run's own cluster after its Spark jobs, also when they failed. Idle, it would end by itself."
    ),
    "validate": Page(
        "Validate data",
        "Writes the sources' windows as a snapshot, reads it back and checks it. Bad data stops here; the report names each check.",
    ),
    "train": Page(
        "Train challenger",
        "Searches and fits on the snapshot, and registers a version in MLflow. Its holdout rows are not seen here.",
    ),
    "compare": Page(
        "Compare on holdout",
        "Scores challenger and live version on the same holdout rows, and proves that the ONNX model answers as Spark does.",
    ),
    "decide": Page(
        "Decide",
        "Promote, keep or inconclusive, by the spec's gate. But for promote, the run ends here, green; the XCom `reason` says why. "
        "Where the spec wants it, a person is asked first; clear this task to be asked whether to override its verdict.",
    ),
    "package": Page("Package image", "Makes the version an OCI image, named by its digest: the same version, the same digest."),
    "check": Page(
        "Check image",
        "Asks the release controller to start the image alone and put the golden rows to it. It waits without holding a slot.",
    ),
    "release": Page(
        "Release",
        "Asks the release controller to move traffic to the image step by step, and back if it misbehaves. "
        "The release goes on if Airflow stops.",
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
        "Schedule": f"`{spec.schedule}` UTC" if spec.schedule else "by hand",
        "Deadline": format_duration(spec.deadline),
        "Platform": platform.name,
        "Endpoint": f"{platform.serving.url}/{spec.name}/",
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return f"{spec.description}\n\n| | |\n|---|---|\n{table}\n"


def broken(name: str, problems: list[str]) -> str:
    lines = "\n".join(f"    {line}" for problem in problems for line in problem.splitlines())
    return f"`{name}` cannot be used. Mend what is named; the DAG comes back by itself.\n\n{lines}\n"
