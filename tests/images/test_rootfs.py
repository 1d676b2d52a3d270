"""Root file systems for the serving base are accepted by their content, not by their configuration."""

import io
import json
import struct
import tarfile
from pathlib import Path

import pytest

from images.layer import sha256
from images.layout import Layout
from images.oci import CONFIG, INDEX, LAYER, MANIFEST, ImageDamaged, canonical
from images.rootfs import UnfitRootfs, open_rootfs

AMD64, ARM64 = (b"\x7fELF" + bytes(14) + struct.pack("<H", machine) + bytes(44) for machine in (62, 183))
GOOD = {"./usr/bin/python3.11": AMD64, "./etc/os-release": b"Debian"}


def tar_of(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def opened(tmp_path: Path, tar: bytes, digest: str = ""):
    (tmp_path / "rootfs.tar").write_bytes(tar)
    name = f"file:{tmp_path / 'rootfs.tar'}@{digest or sha256(tar)}"
    return open_rootfs(name, Layout(tmp_path / "images" / "base"), 11, "amd64")


def test_a_tar_becomes_one_layer_and_its_python_is_found(tmp_path):
    tar = tar_of(GOOD)

    system = opened(tmp_path, tar)

    assert (system.python, [part.diff_id for part in system.parts]) == ("/usr/bin/python3.11", [sha256(tar)])
    assert opened(tmp_path, tar).parts == system.parts


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({**GOOD, "./lib/ld-musl-x86_64.so.1": b""}, "has musl; the server's wheels are for glibc"),
        ({"usr/local/bin/python3.12": AMD64}, r"has no Python 3.11 \(it has: 3.12\)"),
        ({"etc/os-release": b""}, r"has no Python 3.11 \(it has: none\)"),
        ({"usr/bin/python3.11": ARM64}, "has a Python for arm64, but amd64 is needed"),
        ({"usr/bin/python3.11": b"#!/bin/sh"}, "has a Python for no machine, but amd64 is needed"),
    ],
)
def test_a_system_that_the_wheels_do_not_run_on_is_refused(tmp_path, files, reason):
    with pytest.raises(UnfitRootfs, match=reason):
        opened(tmp_path, tar_of(files))


def test_a_tar_that_was_changed_or_is_not_there_is_refused(tmp_path):
    with pytest.raises(UnfitRootfs, match=r"correct images.rootfs, or find out who changed it"):
        opened(tmp_path, tar_of(GOOD), digest=f"sha256:{'0' * 64}")
    with pytest.raises(UnfitRootfs, match=r"nothing.tar cannot be read \(No such file or directory\)"):
        open_rootfs(f"file:{tmp_path}/nothing.tar@sha256:{'0' * 64}", Layout(tmp_path / "base"), 11, "amd64")


def image(layout: Layout, tar: bytes, architecture: str = "amd64") -> str:
    import gzip

    config = {"architecture": architecture, "config": {"Env": ["PATH=/bin"]}, "rootfs": {"diff_ids": [sha256(tar)]}}
    layers = [layout.put(LAYER, gzip.compress(tar))]
    manifest = {"mediaType": MANIFEST, "config": layout.put(CONFIG, canonical(config)), "layers": layers}
    return layout.put(MANIFEST, canonical(manifest))["digest"]


def test_an_image_is_looked_into_as_a_tar_is(tmp_path):
    layout, base = Layout(tmp_path / "python"), Layout(tmp_path / "base")

    system = open_rootfs(layout.reference(image(layout, tar_of(GOOD))), base, 11, "amd64")

    assert (system.python, system.path) == ("/usr/bin/python3.11", "/bin")
    with pytest.raises(UnfitRootfs, match="is for arm64, but amd64 is needed"):
        open_rootfs(layout.reference(image(layout, tar_of(GOOD), "arm64")), base, 11, "amd64")


def test_of_an_index_the_image_of_the_machine_is_taken(tmp_path):
    layout, base = Layout(tmp_path / "python"), Layout(tmp_path / "base")
    entries = [
        {"digest": image(layout, tar_of(GOOD), machine), "platform": {"os": "linux", "architecture": machine}}
        for machine in ("arm64", "amd64")
    ]
    both, other = (
        layout.put(INDEX, json.dumps({"mediaType": INDEX, "manifests": some}).encode())["digest"] for some in (entries, entries[:1])
    )

    assert open_rootfs(layout.reference(both), base, 11, "amd64").path == "/bin"
    with pytest.raises(UnfitRootfs, match="has linux/arm64, but linux/amd64 is needed"):
        open_rootfs(layout.reference(other), base, 11, "amd64")


def test_an_image_is_named_by_digest_only(tmp_path):
    with pytest.raises(ImageDamaged, match="is no image reference"):
        open_rootfs("registry.example.com/python:3.11", Layout(tmp_path / "base"), 11, "amd64")
