"""Every store: writes are atomic and never replace a file."""

import os
import resource
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from contract.errors import StoreError
from contract.store.factory import store_at
from contract.store.local import LocalStore

ROOT = Path(__file__).resolve().parents[2]


def test_the_first_to_create_wins_and_the_second_changes_nothing(store):
    assert store.create("a/b.json", b"first") is True
    assert store.create("a/b.json", b"second") is False
    assert store.read("a/b.json") == b"first"


def test_a_file_is_uploaded_whole_and_only_if_its_name_was_free(store, tmp_path):
    file = tmp_path / "environment.tar.gz"
    file.write_bytes(os.urandom(20_000_000))

    assert store.upload("environments/a.tar.gz", file) is True
    assert store.upload("environments/a.tar.gz", Path(__file__)) is False
    assert store.create("environments/a.tar.gz", b"other") is False
    assert store.read("environments/a.tar.gz") == file.read_bytes()
    assert store.names("environments") == ["a.tar.gz"]


UPLOAD = """
import resource, sys
from pathlib import Path
from contract.store.factory import store_at
store = store_at(sys.argv[1])
store.create("warm", b"")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
store.upload("large", Path(sys.argv[2]))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_an_upload_needs_little_memory(store, tmp_path):
    file = tmp_path / "large"
    with file.open("wb") as content:
        content.truncate(200_000_000)

    done = subprocess.run([sys.executable, "-c", UPLOAD, store.root, file], cwd=ROOT, capture_output=True, text=True, check=True)

    assert int(done.stdout) < 50


def test_what_is_absent_is_none_and_an_absent_folder_is_empty(store):
    assert store.read("a/b.json") is None
    assert store.names("a") == []


def test_names_are_sorted_with_folders_and_without_what_lies_deeper(store):
    for name in ("x/b", "x/a", "x/c/d", "x/c/e/f", "xy/z"):
        store.create(name, b"")

    assert store.names("x") == ["a", "b", "c"]
    assert store.names("x/c") == ["d", "e"]


def test_unfinished_files_have_no_name(tmp_path):
    store = LocalStore(str(tmp_path))
    store.create("x/a", b"")
    Path(store.root, "x", ".new-abc").write_bytes(b"half")

    assert store.names("x") == ["a"]


def test_a_link_is_not_followed_to_what_is_removed(tmp_path):
    store = LocalStore(str(tmp_path / "store"))
    store.create("ledger/late/00000001.json", b"{}")
    store.create("runs/x", b"")
    (tmp_path / "elsewhere" / "late").mkdir(parents=True)
    Path(store.root, "snapshots").symlink_to(tmp_path / "elsewhere")
    Path(store.root, "runs", "late").symlink_to(Path(store.root, "ledger", "late"))

    for folder in ("snapshots/late", "runs/late"):
        with pytest.raises(StoreError, match=f"{folder} was not removed: a link on the way to it leads elsewhere"):
            store.remove(folder)
    assert (tmp_path / "elsewhere" / "late").is_dir()
    assert store.names("ledger/late") == ["00000001.json"]


def test_what_a_killed_removal_has_left_has_no_name_and_goes_with_the_next(tmp_path):
    store = LocalStore(str(tmp_path))
    store.create("runs/a/1", b"")
    store.create("runs/b/2", b"")
    Path(store.root, "runs", "a").rename(Path(store.root, "runs", ".gone-1"))

    assert store.names("runs") == ["b"]
    assert [name for name, _ in store.files("runs")] == ["b/2"]
    assert store.remove("runs/b") == 1
    assert list(Path(store.root, "runs").iterdir()) == []


@pytest.mark.parametrize("path", ["/etc/passwd", "../outside", "a/../../outside"])
def test_a_path_never_leaves_the_store(store, path):
    for use in (store.read, store.names, lambda path: store.create(path, b"x"), store.remove, lambda at: list(store.files(at))):
        with pytest.raises(StoreError, match="is not a path inside the store"):
            use(path)


def test_files_are_told_with_their_time_however_deep_they_lie(store):
    before = datetime.now(UTC) - timedelta(seconds=5)  # a bucket tells whole seconds
    for name in ("x/b", "x/c/d", "x/c/e/f", "xy/z"):
        store.create(name, b"")

    times = dict(store.files("x"))

    assert sorted(times) == ["b", "c/d", "c/e/f"]
    assert all(before < written < datetime.now(UTC) + timedelta(seconds=5) for written in times.values())
    assert list(store.files("absent")) == []


def test_a_folder_is_removed_with_all_below_it_and_nothing_beside_it(store):
    for name in ("runs/a/1.json", "runs/a/deep/2", "runs/ab/3", "runs/4"):
        store.create(name, b"")

    assert store.remove("runs/a") == 2
    assert sorted(name for name, _ in store.files("runs")) == ["4", "ab/3"]
    assert store.names("runs") == ["4", "ab"]
    assert store.remove("runs/a") == 0


@pytest.mark.parametrize("folder", ["", ".", "ledger", "ledger/late", "./ledger", "runs/", "runs//x", "runs/./x"])
def test_the_ledger_and_the_root_are_never_removed(store, folder):
    store.create("ledger/late/00000001.json", b"{}")

    with pytest.raises(StoreError, match=r"was not removed: ledger and the store's root are protected"):
        store.remove(folder)
    assert store.names("ledger/late") == ["00000001.json"]


RACE = """
import sys
from contract.store.factory import store_at
store = store_at(sys.argv[1])
sys.stdin.readline()
print(" ".join(str(n) for n in range(200) if store.create(f"ledger/{n}", sys.argv[2].encode() * 5000)))
"""


def test_of_processes_that_race_for_200_names_each_name_has_one_whole_winner(store):
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, store.root, name], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for name in "abcd"
    ]
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    won = {name: racer.communicate()[0].split() for name, racer in zip("abcd", racers, strict=True)}

    assert Counter(n for names in won.values() for n in names) == Counter(str(n) for n in range(200))
    assert all(store.read(f"ledger/{n}") == name.encode() * 5000 for name, names in won.items() for n in names)
    assert len(store.names("ledger")) == 200


def test_a_full_disk_leaves_nothing_behind_and_says_what_to_do(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("this user may not mount")
    try:
        store = LocalStore(str(disk))
        with pytest.raises(StoreError, match=r"big.json could not be written: the disk is full: free space, then clear this task"):
            store.create("big.json", b"x" * 200_000)
        assert store.names("") == []
        assert store.create("small.json", b"x") is True
    finally:
        subprocess.run(["umount", disk], check=True)


TOO_LARGE = """
import os, signal, sys
from contract.errors import StoreError
from contract.store.local import LocalStore
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = LocalStore(sys.argv[1])
try:
    store.create("big.json", b"x" * 200_000)
except StoreError as error:
    print(error)
print(os.listdir(sys.argv[1]))
"""


def test_a_write_that_breaks_off_half_way_leaves_nothing_behind(tmp_path):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))

    done = subprocess.run(
        [sys.executable, "-c", TOO_LARGE, tmp_path], cwd=ROOT, preexec_fn=limit, capture_output=True, text=True, check=True
    )

    assert done.stdout.splitlines() == [f"{tmp_path}/big.json could not be written: File too large", "[]"]


def test_a_read_only_folder_is_told_as_one(tmp_path):
    """Root may write anywhere, so the attempt is made as another user."""
    folder = tmp_path / "store"
    folder.mkdir(mode=0o555)
    code = "import os, sys\nfrom contract.store.local import LocalStore\n" + (
        "os.getuid() or os.setuid(65534)\n"
        "try: LocalStore(sys.argv[1]).create('a.json', b'x')\nexcept Exception as error: print(type(error).__name__, error)"
    )
    for parent in (tmp_path, *tmp_path.parents[:2]):
        parent.chmod(0o755)
    done = subprocess.run([sys.executable, "-c", code, folder], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout == f"StoreError {folder}/a.json could not be written: permission is denied to this user\n"


@pytest.mark.parametrize("root", ["gs://bucket/x", "https://example.com/x"])
def test_another_scheme_is_refused(root):
    with pytest.raises(StoreError, match=f"^store {root}: a local folder, s3://BUCKET/PREFIX or hdfs://NAMENODE/PATH is supported"):
        store_at(root)
