"""The interface of the logs that are passed on: Airflow's tasks have a logger that is not the standard library's."""

from typing import Protocol


class Log(Protocol):
    """The methods that `logging.Logger` and Airflow's own have in common, as far as they are used here."""

    def info(self, text: str, /, *args: object) -> object: ...

    def warning(self, text: str, /, *args: object) -> object: ...
