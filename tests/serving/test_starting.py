"""What a server refuses to start with, and what starting costs."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from serving.errors import CannotServe
from serving.model import Model


@pytest.fixture
def folder(tmp_path, request):
    """A copy of the binary model to break."""
    return shutil.copytree(request.path.parent / "models" / "binary", tmp_path / "model")


def described(**changes):
    right = {
        "format": 1,
        "task": "binary",
        "numeric": ["dep_delay", "distance"],
        "categorical": ["carrier"],
        "labels": [0, 1],
        "known": {},
    }
    return json.dumps(right | changes)


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ("{", "is not a model's description: Input data was truncated."),
        ("{}", "is not a model's description: Object missing required field `format`."),
        (
            described(format=2),
            "is not a model's description: its format is 2, and this server reads up to 1: upgrade the serving base.",
        ),
        (described(task="ranking"), "is not a model's description: Invalid enum value 'ranking' - at `$.task`."),
        (described(numeric=[], categorical=[]), "is not a model's description: there is no column."),
        (described(categorical=["distance"]), "is not a model's description: a column is listed twice."),
        (described(known={"distance": ["1"]}), "is not a model's description: known names a column that is not categorical."),
        (described(known={"carrier": []}), "is not a model's description: known has a column without levels."),
        (described(labels=[0, 1, 2]), "is not a model's description: a binary model has 2 labels."),
        (described(labels=[0, "1"]), "is not a model's description: labels are numbers or strings, not both."),
        (described(task="regression"), "is not a model's description: a regression has no labels."),
    ],
)
def test_a_bad_description_is_refused(folder, description, message):
    (folder / "model.json").write_text(description)

    with pytest.raises(CannotServe) as error:
        Model.load(folder)

    assert str(error.value) == f"{folder}/model.json {message}"


def test_a_field_that_a_later_version_added_is_ignored(folder):
    (folder / "model.json").write_text(described(added_later=1))

    assert Model.load(folder).description.numeric == ("dep_delay", "distance")


@pytest.mark.parametrize(
    "description",
    [
        described(numeric=["dep_delay"]),
        described(categorical=[]),
        described(task="multiclass", labels=["a", "b", "c"]),
    ],
)
def test_a_description_of_another_graph_is_refused(folder, description):
    (folder / "model.json").write_text(description)

    with pytest.raises(CannotServe, match=r"does not fit model\.json"):
        Model.load(folder)


def test_an_altered_graph_is_refused(folder):
    (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes()[:300])

    with pytest.raises(CannotServe, match=r"model\.onnx is not a readable ONNX model"):
        Model.load(folder)


def run(folder, port=0, environment=None):
    command = [sys.executable, "-m", "serving", "--model", str(folder), "--port", str(port)]
    return subprocess.run(command, env=os.environ | (environment or {}), capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("missing", ["model.onnx", "model.json"])
def test_a_missing_file_ends_the_process_with_one_sentence(folder, missing):
    (folder / missing).unlink()

    ended = run(folder)

    assert ended.returncode == 1
    assert (
        ended.stderr.lower()
        == f"{folder}/{missing} cannot be read: no such file{' or directory' * (missing == 'model.json')}.\n".lower()
    )


def test_a_port_in_use_ends_the_process_with_one_sentence(folder, binary):
    ended = run(folder, binary.port)

    assert (ended.returncode, ended.stderr) == (1, f"Cannot listen on 127.0.0.1:{binary.port}: Address already in use.\n")
    assert binary.get("/ping").status == 200


def test_starting_is_quick_and_the_server_small(start, record_property):
    server = start("binary")
    server.post("/invocations", {"inputs": {"dep_delay": [1.0] * 10_000, "distance": [1.0] * 10_000, "carrier": ["AA"] * 10_000}})
    memory = server.memory_mb()

    print(f"\nready after {server.started_s:.2f} s (target: 3), {memory:.0f} MB after 10,000 rows (target: 150)")
    assert server.started_s < 15  # other work may keep this machine busy
    assert memory < 200
    server.stop()
    assert server.log.read_text().count("\n") == 1  # one line on starting, no access log


def test_no_telemetry_is_sent_or_stored(folder, tmp_path):
    """ONNX Runtime stores its telemetry below the home folder, unless it is disabled."""
    home = tmp_path / "home"
    home.mkdir()
    environment = {"HOME": str(home), "PATH": "/usr/bin", "PYTHONPATH": os.getcwd()}
    load = f"from pathlib import Path; from serving.model import Model; Model.load(Path({str(folder)!r}))"

    subprocess.run([sys.executable, "-c", load], env=environment, check=True)

    assert list(home.rglob("*")) == []
