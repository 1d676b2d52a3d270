import hashlib
import json
import os
import threading
import time
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from contract.documents import Image
from images.base import NoBase, embedded_base
from images.layer import build_layer
from images.layout import Layout
from images.oci import CONFIG, LAYER, MANIFEST, ImageDamaged, canonical
from images.package import Contents, NothingToPackage, package
from images.references import find
from images.unpacked import unpack

AS_OF = datetime(2013, 5, 1, 6, tzinfo=UTC)
FILES = {"model.onnx": b"\x08\x0aonnx", "model.json": b'{"format": 1}'}


@pytest.fixture
def serving(tmp_path) -> Path:
    return server_code(tmp_path / "serving", ["__init__.py", "server.py", "protocols/v2.py"])


def server_code(folder: Path, names: list[str]) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"# {name}\n")
    (folder / "requirements.lock").write_text("numpy==2.4.6\n")
    return folder


def packaged(tmp_path: Path, serving: Path, **changed) -> Image:
    folder = changed.pop("folder", tmp_path / "images")
    given = {"model": "late", "version": 3, "as_of": AS_OF, "files": FILES, "labels": {"run": "manual-1"}}
    return package(Contents(**{**given, **changed}), embedded_base(serving, Layout(folder)), Layout(folder))


def blobs(tmp_path: Path) -> dict[str, Path]:
    return {path.name: path for path in (tmp_path / "images/blobs/sha256").iterdir()}


def manifest_of(tmp_path: Path, image: Image) -> dict:
    return json.loads(blobs(tmp_path)[image.digest[7:]].read_bytes())


def test_every_file_of_the_image_is_unpacked_and_nothing_else(tmp_path, serving):
    (serving / "notes.txt").write_text("not code")
    (serving / "__pycache__").mkdir()
    (serving / "__pycache__/server.pyc").write_bytes(b"\0")
    image = packaged(tmp_path, serving)

    config = unpack(*find(image.reference), tmp_path / "unpacked")

    assert config.env == {"MODEL_NAME": "late", "MODEL_VERSION": "3"}
    assert config.labels == {"run": "manual-1"}
    assert config.command == ("python", "-m", "serving", "--model", "/models/current", "--host", "0.0.0.0", "--port", "8080")
    assert content(tmp_path / "unpacked") == {
        "app/requirements.lock": b"numpy==2.4.6\n",
        "app/serving/__init__.py": b"# __init__.py\n",
        "app/serving/server.py": b"# server.py\n",
        "app/serving/protocols/v2.py": b"# protocols/v2.py\n",
        "models/current/model.onnx": b"\x08\x0aonnx",
        "models/current/model.json": b'{"format": 1}',
    }


def content(folder: Path) -> dict[str, bytes]:
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    files.pop("files.sha256")
    return files


def test_the_image_is_what_the_oci_format_asks_for(tmp_path, serving):
    image = packaged(tmp_path, serving)

    manifest = manifest_of(tmp_path, image)
    config = json.loads(blobs(tmp_path)[manifest["config"]["digest"][7:]].read_bytes())

    assert json.loads((tmp_path / "images/oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    assert manifest["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert [layer["mediaType"] for layer in manifest["layers"]] == ["application/vnd.oci.image.layer.v1.tar+gzip"] * 2
    assert config["created"] == "2013-05-01T06:00:00Z"
    assert config["config"]["User"] == "65532:65532"
    assert config["config"]["WorkingDir"] == "/app"
    for name, path in blobs(tmp_path).items():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == name
    assert image.size == sum(path.stat().st_size for path in blobs(tmp_path).values())


def test_the_same_input_is_the_same_digest_whatever_the_order_the_age_and_the_place(tmp_path, serving):
    first = packaged(tmp_path, serving)

    elsewhere = server_code(tmp_path / "other/serving", ["protocols/v2.py", "server.py", "__init__.py"])
    for path in elsewhere.rglob("*"):
        os.utime(path, (1, 1))
    second = packaged(tmp_path, elsewhere, files=dict(reversed(FILES.items())), folder=tmp_path / "other/images")

    assert second.digest == first.digest


@pytest.mark.parametrize("as_of", [datetime(2013, 5, 1, 6), AS_OF.astimezone(timezone(timedelta(hours=-4)))])
def test_the_digest_does_not_depend_on_how_a_time_is_written(tmp_path, serving, as_of):
    assert packaged(tmp_path, serving, as_of=as_of).digest == packaged(tmp_path, serving).digest


def test_a_second_run_writes_no_blob(tmp_path, serving):
    packaged(tmp_path, serving)
    before = {name: path.stat().st_ino for name, path in blobs(tmp_path).items()}

    packaged(tmp_path, serving)

    assert {name: path.stat().st_ino for name, path in blobs(tmp_path).items()} == before


@pytest.mark.parametrize(
    "changed",
    [
        {"version": 4},
        {"model": "early"},
        {"files": {**FILES, "model.json": b"{}"}},
        {"labels": {}},
        {"as_of": AS_OF + timedelta(days=1)},
    ],
)
def test_any_other_input_is_another_digest(tmp_path, serving, changed):
    assert packaged(tmp_path, serving, **changed).digest != packaged(tmp_path, serving).digest


def test_two_versions_share_the_server_layer(tmp_path, serving):
    first, second = (packaged(tmp_path, serving, version=version, files={"m": bytes([version])}) for version in (1, 2))

    one, two = (manifest_of(tmp_path, image)["layers"] for image in (first, second))
    assert one[0] == two[0]
    assert one[1] != two[1]


def test_the_index_names_every_version(tmp_path, serving):
    first, second = packaged(tmp_path, serving), packaged(tmp_path, serving, version=4)

    assert Layout(tmp_path / "images").names() == {"v3": first.digest, "v4": second.digest}


def test_a_version_packaged_anew_takes_the_name_and_the_old_digest_stays_in_the_index(tmp_path, serving):
    old = packaged(tmp_path, serving)
    (serving / "server.py").write_text("# newer\n")
    new = packaged(tmp_path, serving)

    index = json.loads((tmp_path / "images/index.json").read_bytes())

    assert Layout(tmp_path / "images").names() == {"v3": new.digest}
    assert [entry["digest"] for entry in index["manifests"]] == [old.digest, new.digest]


def test_versions_packaged_at_once_all_reach_the_index(tmp_path, serving):
    threads = [threading.Thread(target=packaged, args=(tmp_path, serving), kwargs={"version": v}) for v in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(Layout(tmp_path / "images").names()) == [f"v{v}" for v in range(1, 9)]


@pytest.mark.parametrize("part", [0, 1])
def test_an_altered_layer_is_named_and_nothing_is_unpacked(tmp_path, serving, part):
    image = packaged(tmp_path, serving)
    blob = blobs(tmp_path)[manifest_of(tmp_path, image)["layers"][part]["digest"][7:]]
    alter(blob)

    with pytest.raises(ImageDamaged, match=f"{blob.name} was altered.*clear the package task"):
        unpack(*find(image.reference), tmp_path / "unpacked")
    assert not (tmp_path / "unpacked").exists()


def test_an_altered_manifest_or_configuration_is_named(tmp_path, serving):
    image = packaged(tmp_path, serving)
    for digest in (manifest_of(tmp_path, image)["config"]["digest"], image.digest):
        alter(blobs(tmp_path)[digest[7:]])
        with pytest.raises(ImageDamaged, match=f"{digest[7:]} was altered"):
            unpack(*find(image.reference), tmp_path / "unpacked")


def test_a_missing_blob_is_named(tmp_path, serving):
    image = packaged(tmp_path, serving)
    blobs(tmp_path)[image.digest[7:]].unlink()

    with pytest.raises(ImageDamaged, match=f"{image.digest[7:]} is missing"):
        unpack(*find(image.reference), tmp_path / "unpacked")


def test_packaging_again_repairs_an_altered_blob(tmp_path, serving):
    image = packaged(tmp_path, serving)
    alter(blobs(tmp_path)[manifest_of(tmp_path, image)["layers"][1]["digest"][7:]])

    packaged(tmp_path, serving)

    unpack(*find(image.reference), tmp_path / "unpacked")
    assert (tmp_path / "unpacked/models/current/model.onnx").read_bytes() == FILES["model.onnx"]


def alter(path: Path) -> None:
    """One bit, the size and the times stay."""
    stat = path.stat()
    flipped = bytearray(path.read_bytes())
    flipped[len(flipped) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(flipped)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_a_folder_unpacked_earlier_is_kept(tmp_path, serving):
    image = packaged(tmp_path, serving)
    unpack(*find(image.reference), tmp_path / "unpacked")
    before = (tmp_path / "unpacked").stat().st_ino

    unpack(*find(image.reference), tmp_path / "unpacked")

    assert (tmp_path / "unpacked").stat().st_ino == before


def test_a_folder_that_was_altered_since_is_replaced(tmp_path, serving):
    image = packaged(tmp_path, serving)
    for spoil in (alter, Path.unlink, lambda path: path.with_name("extra.py").write_text("import os"), link_out):
        unpack(*find(image.reference), tmp_path / "unpacked")
        spoil(tmp_path / "unpacked/app/serving/server.py")

        unpack(*find(image.reference), tmp_path / "unpacked")

        code = tmp_path / "unpacked/app/serving"
        assert sorted(path.name for path in code.iterdir()) == ["__init__.py", "protocols", "server.py"]
        assert (tmp_path / "unpacked/app/serving/server.py").read_text() == "# server.py\n"
        assert not (tmp_path / "unpacked/app/serving/server.py").is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "serving", "unpacked"]


def link_out(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/hostname")


def test_the_list_of_hashes_covers_every_file(tmp_path, serving):
    image = packaged(tmp_path, serving)
    unpack(*find(image.reference), tmp_path / "unpacked")

    listed = [line.split("  ") for line in (tmp_path / "unpacked/files.sha256").read_text().splitlines()]

    expected = {name: hashlib.sha256(data).hexdigest() for name, data in content(tmp_path / "unpacked").items()}
    assert {name: value for value, name in listed} == expected


def test_an_image_with_an_unsafe_layer_is_refused(tmp_path):
    layer = build_layer({"a": b"1"})
    reference = stored(tmp_path, layer.content, "sha256:" + "0" * 64)

    with pytest.raises(ImageDamaged, match=f"layer {layer.digest} of image .* is refused: .*package the version again"):
        unpack(*find(reference), tmp_path / "unpacked")


def stored(tmp_path: Path, layer: bytes, diff_id: str) -> str:
    layout = Layout(tmp_path / "images")
    config = layout.put(CONFIG, canonical({"config": {}, "rootfs": {"diff_ids": [diff_id]}}))
    manifest = layout.put(MANIFEST, canonical({"config": config, "layers": [layout.put(LAYER, layer)]}))
    return f"oci:{layout.folder}@{manifest['digest']}"


@pytest.mark.parametrize("content", [b"{}", b"[]", b"not json", b'{"config": 1, "layers": []}'])
def test_a_blob_that_is_no_manifest_is_refused(tmp_path, content):
    digest = Layout(tmp_path / "images").put(MANIFEST, content)["digest"]

    with pytest.raises(ImageDamaged, match="names no image of layers"):
        unpack(*find(f"oci:{tmp_path / 'images'}@{digest}"), tmp_path / "unpacked")


@pytest.mark.parametrize("reference", ["oci:/images:latest", "docker://a@sha256:00", "oci:/images@sha256:../../etc/passwd", ""])
def test_an_image_is_asked_for_by_digest_only(tmp_path, reference):
    with pytest.raises(ImageDamaged):
        unpack(*find(reference), tmp_path / "unpacked")


def test_deleting_a_version_leaves_no_blob_of_it_and_every_one_of_the_others(tmp_path, serving):
    first = packaged(tmp_path, serving)
    alone = set(blobs(tmp_path))
    second = packaged(tmp_path, serving, version=4, files={"model.onnx": b"other"})

    Layout(tmp_path / "images").delete(first.digest)

    shared = manifest_of(tmp_path, second)["layers"][0]["digest"]
    assert set(blobs(tmp_path)) & alone == {shared[7:]}
    assert Layout(tmp_path / "images").names() == {"v4": second.digest}
    unpack(*find(second.reference), tmp_path / "unpacked")
    Layout(tmp_path / "images").delete(second.digest)
    assert blobs(tmp_path) == {}


def test_a_digest_that_lost_its_name_keeps_its_blobs(tmp_path, serving):
    old = packaged(tmp_path, serving)
    (serving / "server.py").write_text("# newer\n")
    new = packaged(tmp_path, serving)

    Layout(tmp_path / "images").delete(new.digest)

    unpack(*find(old.reference), tmp_path / "unpacked")


def test_nothing_is_deleted_while_it_cannot_be_told_what_else_needs_it(tmp_path, serving):
    first, second = packaged(tmp_path, serving), packaged(tmp_path, serving, version=4)
    alter(blobs(tmp_path)[second.digest[7:]])
    before = set(blobs(tmp_path))

    with pytest.raises(ImageDamaged, match=f"{second.digest[7:]} was altered"):
        Layout(tmp_path / "images").delete(first.digest)

    assert set(blobs(tmp_path)) == before
    assert Layout(tmp_path / "images").names() == {"v3": first.digest, "v4": second.digest}


def test_what_was_deleted_while_a_version_was_packaged_keeps_it_from_its_name(tmp_path, serving):
    layout = Layout(tmp_path / "images")
    image = packaged(tmp_path, serving)
    digest = layout.put(MANIFEST, canonical({**manifest_of(tmp_path, image), "annotations": {}}))["digest"]

    layout.delete(image.digest)

    with pytest.raises(ImageDamaged, match="is missing; clear the package task"):
        layout.name(digest, "v4")
    assert layout.names() == {}


def test_a_broken_index_stops_packaging_with_advice(tmp_path, serving):
    packaged(tmp_path, serving)
    (tmp_path / "images/index.json").chmod(0o644)
    (tmp_path / "images/index.json").write_text('{"manif')

    with pytest.raises(ImageDamaged, match=r"index\.json is no image index; move it away"):
        packaged(tmp_path, serving, version=4)


def test_a_missing_lock_or_no_files_stop_packaging(tmp_path, serving):
    with pytest.raises(NothingToPackage, match="version 3 of late has no files"):
        packaged(tmp_path, serving, files={})
    (serving / "requirements.lock").unlink()
    with pytest.raises(NoBase, match=r"requirements\.lock is missing"):
        packaged(tmp_path, serving)


def test_a_reader_never_sees_half_an_index(tmp_path, serving):
    packaged(tmp_path, serving)
    seen, stop = [], time.monotonic() + 0.3
    writer = threading.Thread(target=lambda: [packaged(tmp_path, serving, version=v) for v in range(4, 20)])
    writer.start()
    while time.monotonic() < stop or writer.is_alive():
        seen.append(len(Layout(tmp_path / "images").names()))
    writer.join()

    assert seen == sorted(seen)
    assert Layout(tmp_path / "images").names().keys() == {f"v{v}" for v in range(3, 20)}
