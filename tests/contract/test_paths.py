"""Names of files and folders in the store: typed by hand, built and read back."""

import pytest

from contract.paths import Digest, FileName, JobFiles, RunFolder, StoreLayout

FILES = JobFiles("runs/late/1-abc", "validate", "0a1b")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (FILES.document, "runs/late/1-abc/validate-0a1b.json"),
        (FILES.beside("failed"), "runs/late/1-abc/validate-0a1b.failed.json"),
        (FILES.beside("claim-2"), "runs/late/1-abc/validate-0a1b.claim-2.json"),
        (FILES.progress(7), "runs/late/1-abc/validate-0a1b.progress-0007.txt"),
        (FILES.name(), "validate-0a1b.json"),
        (FILES.name("failed"), "validate-0a1b.failed.json"),
        (StoreLayout.snapshot("late", "0a1b"), "snapshots/late/0a1b"),
        (StoreLayout.ticket("0a1b"), "jobs/0a1b/ticket.json"),
    ],
)
def test_paths(path: str, expected: str) -> None:
    assert path == expected


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("validate-0a1b.json", ("validate", "0a1b", "", None)),
        ("freeze_run-0a1b.request.json", ("freeze_run", "0a1b", "request", None)),
        ("validate-0a1b.claim-2.json", ("validate", "0a1b", "claim", 2)),
        ("validate-0a1b.progress-0007.txt", ("validate", "0a1b", "progress", 7)),
        ("run-3.json", ("run", "3", "", None)),
        ("notes.txt", None),
        (".new-0a1b", None),
    ],
)
def test_names_are_read_back(name: str, parts: tuple | None) -> None:
    assert FileName.parse(name) == parts


def test_the_parts_of_a_jobs_output_are_listed_in_order() -> None:
    names = [
        f"validate-{key}" for key in ("0a1b.progress-0010.txt", "0a1b.progress-0009.txt", "0a1b.json", "0a1c.progress-0001.txt")
    ]

    assert FILES.progress_among(names) == [FILES.progress(9), FILES.progress(10)]


def test_run_folders_are_safe_in_paths_and_never_clash() -> None:
    folder = RunFolder.of("late", "scheduled__2013-06-15T06:00:00+00:00")

    assert folder.path.startswith("runs/late/scheduled__2013-06-15T06-00-00-00-00-")
    assert folder.of_model == "runs/late"
    assert folder.files("train", "k1").document == f"{folder.path}/train-k1.json"
    assert RunFolder.of("late", "a:b") != RunFolder.of("late", "a+b")
    assert RunFolder.of("late", "a:b", "2026-01-01") != RunFolder.of("late", "a:b", "2026-01-02")


def test_a_digest_has_a_short_form() -> None:
    assert (Digest("sha256:" + "a" * 64).hex, Digest("sha256:" + "a" * 64).short) == ("a" * 64, "a" * 12)
