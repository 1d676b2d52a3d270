import gzip
import io
import tarfile

import pytest

from images.layer import UnsafeLayer, build_layer, read_layer, sha256

FILES = {"app/serving/b.py": b"print(2)\n", "app/serving/a.py": b"", "models/current/model.onnx": b"\x00\xff"}
LIMIT = 2**20


def packed(*members: tuple[tarfile.TarInfo, bytes]) -> tuple[bytes, str]:
    """A layer somebody else made: its bytes and its diff id."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        for header, content in members:
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
    return gzip.compress(tar.getvalue()), sha256(tar.getvalue())


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.type, header.linkname = kind, target
    return header


def test_the_bytes_are_those_of_last_year_and_of_another_host():
    layer = build_layer({"a/b": b"hi"})

    assert layer.diff_id == "sha256:7fa38fa36b5d1e7881dec8bdadf48ab0b69962c29af0ac77ea6a03a9be1a9723"
    assert layer.content[:10] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"  # no name, no time, no operating system


def test_the_order_of_files_does_not_matter():
    assert build_layer(FILES) == build_layer(dict(reversed(FILES.items())))


@pytest.mark.parametrize("changed", [{"app/serving/a.py": b"#"}, {"app/serving/c.py": b""}])
def test_another_name_or_content_is_another_digest(changed):
    assert build_layer({**FILES, **changed}).digest != build_layer(FILES).digest


def test_folders_come_before_their_files_with_fixed_owner_mode_and_time():
    tar = gzip.decompress(build_layer({"a/b/c": b"x"}).content)

    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        headers = [(m.name, oct(m.mode), m.uid, m.gid, m.mtime, m.uname) for m in archive]

    assert headers == [
        ("a", "0o755", 65532, 65532, 0, ""),
        ("a/b", "0o755", 65532, 65532, 0, ""),
        ("a/b/c", "0o444", 65532, 65532, 0, ""),
    ]


def test_what_was_packed_is_read_back():
    layer = build_layer(FILES)

    assert read_layer(layer.content, layer.diff_id, LIMIT) == FILES


@pytest.mark.parametrize("name", ["/etc/passwd", "../up", "a/../../up", "a//b", "./a", ".", "", "a/", "a\0b"])
def test_a_name_that_leaves_its_folder_is_never_packed(name):
    with pytest.raises(UnsafeLayer, match="no plain relative name"):
        build_layer({name: b""})


@pytest.mark.parametrize("name", ["/etc/passwd", "../up", "a/../../up"])
def test_a_name_that_leaves_its_folder_is_never_unpacked(name):
    with pytest.raises(UnsafeLayer, match="no plain relative name"):
        read_layer(*packed((member(name), b"x")), LIMIT)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(kind):
    with pytest.raises(UnsafeLayer, match="'a' is a link or a special file"):
        read_layer(*packed((member("a", kind, "/etc/passwd"), b"")), LIMIT)


def test_a_file_twice_is_refused():
    with pytest.raises(UnsafeLayer, match="'a' is in it twice"):
        read_layer(*packed((member("a"), b"1"), (member("a"), b"2")), LIMIT)


def test_a_file_where_another_needs_a_folder_is_refused():
    with pytest.raises(UnsafeLayer, match="'a' is both a file and a folder"):
        read_layer(*packed((member("a"), b"1"), (member("a/b"), b"2")), LIMIT)


def test_a_layer_that_swells_is_refused_before_it_fills_the_memory():
    layer = build_layer({"zeros": bytes(5_000_000)})

    assert len(layer.content) < 10_000
    with pytest.raises(UnsafeLayer, match="more than 1,048,576 bytes"):
        read_layer(layer.content, layer.diff_id, LIMIT)


def test_a_diff_id_of_another_layer_is_refused():
    with pytest.raises(UnsafeLayer, match="its configuration says sha256:00"):
        read_layer(build_layer(FILES).content, "sha256:00", LIMIT)


@pytest.mark.parametrize("content", [b"", b"plain", build_layer(FILES).content[:-20], gzip.compress(b"no tar" * 200)])
def test_what_is_no_gzipped_tar_is_refused(content):
    try:
        diff_id = sha256(gzip.decompress(content))
    except (EOFError, gzip.BadGzipFile):
        diff_id = ""
    with pytest.raises(UnsafeLayer, match=r"no gzipped tar|configuration says"):
        read_layer(content, diff_id, LIMIT)
