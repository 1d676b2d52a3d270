"""The store's one promise: a file appears whole or not at all, and only if it was absent."""

import os
import resource
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from contract.errors import StoreError
from contract.store import LocalStore, store_at

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def store(tmp_path):
    return LocalStore(str(tmp_path / "store"))


def test_the_first_to_create_wins_and_the_second_changes_nothing(store):
    assert store.create("a/b.json", b"first") is True
    assert store.create("a/b.json", b"second") is False
    assert store.read("a/b.json") == b"first"


def test_what_is_absent_is_none_and_an_absent_folder_is_empty(store):
    assert store.read("a/b.json") is None
    assert store.names("a") == []


def test_names_are_sorted_and_without_unfinished_files(store):
    for name in ("b", "a", "c"):
        store.create(f"x/{name}", b"")
    Path(store.root, "x", ".new-abc").write_bytes(b"half")

    assert store.names("x") == ["a", "b", "c"]


@pytest.mark.parametrize("path", ["/etc/passwd", "../outside", "a/../../outside"])
def test_a_path_never_leaves_the_store(store, path):
    for use in (store.read, store.names, lambda place: store.create(place, b"x")):
        with pytest.raises(StoreError, match="is not a path inside the store"):
            use(path)


RACE = """
import sys
from contract.store import LocalStore
store = LocalStore(sys.argv[1])
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
from contract.store import LocalStore
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
    code = "import os, sys\nfrom contract.store import LocalStore\n" + (
        "os.getuid() or os.setuid(65534)\n"
        "try: LocalStore(sys.argv[1]).create('a.json', b'x')\nexcept Exception as error: print(type(error).__name__, error)"
    )
    for parent in (tmp_path, *tmp_path.parents[:2]):
        parent.chmod(0o755)
    done = subprocess.run([sys.executable, "-c", code, folder], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout == f"StoreError {folder}/a.json could not be written: permission is denied to this user\n"


def test_only_a_local_folder_is_a_store_yet(tmp_path):
    assert store_at(str(tmp_path)).root == str(tmp_path)
    with pytest.raises(StoreError, match=r"^store s3://bucket/x: only a local folder is supported yet; write a path"):
        store_at("s3://bucket/x")
