"""Command line of the releases: status, history and manual commands: `python -m release COMMAND --help`.

The platform is the file (or the name of one in dags/platforms/) that --platform or RETRAINING_PLATFORM gives.
"""

import argparse
import getpass
import json
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from contract.errors import RetrainingError
from contract.platform import Platform, load_platform
from contract.store.base import Store
from contract.store.factory import store_at
from images.login import login_on_host
from images.references import host_of, repository_of
from release.ledger import commands
from release.ledger import status as ledger_status
from release.ledger.ledger import Ledger

PLATFORMS = Path(__file__).resolve().parents[1] / "dags" / "platforms"
OUTCOME_WITHIN_S = 60.0
HISTORY_ENTRIES = 20


def main(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    try:
        data, lines, good = options.run(options)
    except RetrainingError as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(data, indent=1) if options.json else "\n".join(lines))
    return 0 if good else 1


def platform_of(options: argparse.Namespace) -> Platform:
    named = options.platform
    path = Path(named) if named.endswith((".yaml", ".yml")) else PLATFORMS / f"{named}.yaml"
    return load_platform(path, Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser())


def store_of(options: argparse.Namespace) -> Store:
    return store_at(platform_of(options).store)


Result = tuple[Any, list[str], bool]  # data, lines, and whether it went well


def status(options: argparse.Namespace) -> Result:
    ledger = Ledger(store_of(options))
    reports = [ledger_status.status_of(ledger, model) for model in ([options.model] if options.model else ledger.models())]
    lines = [line for report in reports for line in ledger_status.status_lines(report)]
    return reports, lines or ["no model has been checked or released yet"], not any("problem" in report for report in reports)


def history(options: argparse.Namespace) -> Result:
    newest = ledger_status.history_of(Ledger(store_of(options)), options.model, options.entries)
    return newest, ledger_status.history_lines(newest) or [f"{options.model} has no entry"], True


def at(options: argparse.Namespace) -> Result:
    report = ledger_status.at_of(Ledger(store_of(options)), options.model, options.time)
    return report, ledger_status.at_lines(report), True


def change(options: argparse.Namespace) -> Result:
    store = store_of(options)
    request = commands.submit(store, options.command, options.model, options.who, options.why, getattr(options, "version", None))
    outcome = commands.await_outcome(store, request, OUTCOME_WITHIN_S)
    done = "done" if outcome.done else "refused"
    return outcome.model_dump(mode="json"), [f"{options.command} of {options.model} {done}: {outcome.reason}"], outcome.done


def reconcile(options: argparse.Namespace) -> Result:
    from release.controller.consistency import reconcile as compare  # imports every adapter of a host, which is slow

    differences, repaired = compare(platform_of(options))
    did = "this call has repaired what it could" if repaired else "a controller is at work here and repairs what it can"
    lines = differences or ["the ledger, the alias, the router, the servers and the tags agree"]
    return {"differences": differences, "repaired": repaired}, [*lines, f"({did})"], not differences


def clean_images(options: argparse.Namespace) -> Result:
    """Lists what would be deleted; deletes only with --delete."""
    from release.registries.image_retention import clean, plan, plan_lines

    platform, ledger = platform_of(options), Ledger(store_of(options))
    where, act = platform.images, clean if options.delete else plan
    plans = []
    for model in [options.model] if options.model else ledger.models():
        repository = repository_of(where.repository, model, login_on_host(host_of(where.repository)))
        plans.append(act(repository, model, ledger, where.keep))
    lines = [line for removal in plans for line in plan_lines(removal)]
    return (
        [removal._asdict() for removal in plans],
        [*lines, "deleted" if options.delete else "nothing was deleted: add --delete"],
        True,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m release", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _command(subparsers, "status", "what is live, what is under way, and how the last requests ended", status, model="?")
    entries = _command(subparsers, "history", "what has happened to a model, the newest first", history)
    entries.add_argument("--entries", type=int, default=HISTORY_ENTRIES, help=f"how many (default {HISTORY_ENTRIES})")
    moment = _command(subparsers, "at", "which versions answered at a given time, and why", at)
    moment.add_argument("time", type=_time, help="such as 2013-06-01T14:05, in UTC unless it says otherwise")
    _command(
        subparsers,
        "reconcile",
        "on the serving host: compare all with the ledger, and repair it if no controller runs",
        reconcile,
        "",
    )
    images = subparsers.add_parser("images", help="`images clean`: what of the images' repositories may go")
    kinds = images.add_subparsers(dest="of_images", required=True, metavar="COMMAND")
    cleaned = _command(kinds, "clean", "what of a model's images may go, and why the rest stays", clean_images, model="?")
    cleaned.add_argument("--delete", action="store_true", help="delete what may go")
    for name, what in commands.WHAT.items():
        changed = _command(subparsers, name, what, change)
        changed.add_argument("--why", required=True, help="kept in the ledger and shown in its history")
        changed.add_argument("--who", default=getpass.getuser(), help="default: the user of this shell")
        if name == "rollback":
            earlier = "one that was live before; default: the previous one, warm during a probation"
            changed.add_argument("--to-version", dest="version", type=int, metavar="N", help=earlier)
        if name == "unquarantine":
            changed.add_argument("--version", type=int, metavar="N", required=True, help="as `status` lists it")
    return parser


def _command(
    subparsers: Any, name: str, what: str, run: Callable[..., Result], model: str | None = None
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(name, help=what, description=what)
    if model != "":
        parser.add_argument("model", nargs=model, metavar="MODEL")
    platform = os.environ.get("RETRAINING_PLATFORM", "local")
    parser.add_argument("--platform", default=platform, metavar="FILE", help="a file, or a name in dags/platforms/")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=run)
    return parser


def _time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
