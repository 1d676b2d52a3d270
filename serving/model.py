"""One model, model.onnx and model.json: loaded, tried once, and used to predict."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Self

import msgspec
import numpy as np
import onnxruntime

from serving.columns import Columns, Row
from serving.errors import CannotServe, RequestRefused

MAX_ROWS = 10_000

Label = int | str
FORMAT = 1  # of model.json; an added optional field does not raise it


class Description(msgspec.Struct, frozen=True):
    """model.json. `labels` in the order of the probabilities, None for regression; `known`: column → its only levels."""

    format: int
    task: Literal["binary", "multiclass", "regression"]
    numeric: tuple[str, ...]
    categorical: tuple[str, ...]
    labels: tuple[Label, ...] | None
    known: dict[str, frozenset[str]] = {}

    def problem(self) -> str | None:
        """The first inconsistency; None if there is none."""
        columns = self.numeric + self.categorical
        labels = len(self.labels or ())
        checks = (
            (self.format <= FORMAT, f"its format is {self.format}, and this server reads up to {FORMAT}: upgrade the serving base"),
            (bool(columns), "there is no column"),
            (len(set(columns)) == len(columns), "a column is listed twice"),
            (set(self.known) <= set(self.categorical), "known names a column that is not categorical"),
            (self.task != "binary" or labels == 2, "a binary model has 2 labels"),
            (self.task != "multiclass" or labels >= 2, "a multiclass model has at least 2 labels"),
            (self.task != "regression" or self.labels is None, "a regression has no labels"),
            (len({type(label) for label in self.labels or ()}) <= 1, "labels are numbers or strings, not both"),
            (all(self.known.values()), "known has a column without levels"),
        )
        return next((problem for holds, problem in checks if not holds), None)


class Answer(NamedTuple):
    """One prediction per row; for classifiers also probabilities, row by row, in label order."""

    predictions: list[Label | float]
    probabilities: list[list[float]] | None


class Exchange(NamedTuple):
    """A request as it was decoded, its answer, and the encoded response body."""

    names: tuple[str, ...]
    rows: Sequence[Row]
    answer: Answer
    content: bytes


class Model:
    """Raises RequestRefused for what it cannot answer with finite numbers."""

    def __init__(self, description: Description, session: onnxruntime.InferenceSession):
        self.description = description
        self.columns = Columns(description.numeric, description.categorical, description.known)
        self._session = session
        self._outputs = ["prediction"] if description.labels is None else ["probability", "prediction"]

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Raises CannotServe. The model has answered once when this returns."""
        description = _describe(folder / "model.json")
        model = cls(description, _open_session(folder / "model.onnx"))
        model._warm_up(folder)
        return model

    def predict(self, names: tuple[str, ...], rows: Sequence[Row]) -> Answer:
        """`rows` in the order of `names`; None is a missing value."""
        if not rows:
            raise RequestRefused("The request has no rows; send at least one.")
        if len(rows) > MAX_ROWS:
            raise RequestRefused(f"The request has {len(rows):,} rows; send at most {MAX_ROWS:,} at a time.", 413)
        outputs = self._session.run(self._outputs, self.columns.tensors(names, rows))
        _check_finite(outputs[0])
        values = outputs[0].tolist()
        labels = self.description.labels
        if labels is None:
            return Answer(values, None)
        return Answer([labels[index] for index in outputs[1].tolist()], values)

    def _warm_up(self, folder: Path) -> None:
        """The first answer is slow, and shows whether graph and description fit: no client should meet either."""
        known = self.description.known
        levels = [min(known[name]) if name in known else None for name in self.columns.categorical]
        try:
            answer = self.predict(self.columns.names, [[*[None] * len(self.columns.numeric), *levels]])
        except RequestRefused as error:
            raise CannotServe(f"{folder}: the model cannot answer a row of missing values: {error.message}") from None
        except Exception as error:
            raise CannotServe(f"{folder}: model.onnx does not fit model.json: {_first_line(error)}") from error
        if answer.probabilities and len(answer.probabilities[0]) != len(self.description.labels or ()):
            raise CannotServe(f"{folder}: model.onnx does not fit model.json: it has {len(answer.probabilities[0])} probabilities.")


def _describe(path: Path) -> Description:
    try:
        description = msgspec.json.decode(path.read_bytes(), type=Description)
    except OSError as error:
        raise CannotServe(f"{path} cannot be read: {error.strerror}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CannotServe(f"{path} is not a model's description: {error}.") from None
    problem = description.problem()
    if problem:
        raise CannotServe(f"{path} is not a model's description: {problem}.")
    return description


def _open_session(path: Path) -> onnxruntime.InferenceSession:
    """One thread that sleeps when idle: a host runs many servers, each about as wide as one core."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.log_severity_level = 3
    if not path.is_file():
        raise CannotServe(f"{path} cannot be read: no such file.")
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no base class of their own
        raise CannotServe(f"{path} is not a readable ONNX model: {_first_line(error)}") from error


def _check_finite(values: np.ndarray) -> None:
    finite = np.isfinite(values)
    if not finite.all():
        row = int(np.argwhere(~finite)[0][0])
        raise RequestRefused(f"The model's answer for row {row} is not a finite number, so no answer is given.", 500)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
