"""The serving base, and the build context of serving/Dockerfile."""

from pathlib import Path

import pytest

from images.addresses import address_of
from images.base import ENV, Base, NoBase, key_of, stored_base, tag_of, write_context
from images.distribution import Registry
from images.layout import Layout
from images.oci import CONFIG, DOCKER_LAYER, DOCKER_MANIFEST, LAYER, canonical

ROOT = Path(__file__).resolve().parents[2]
ROOTFS = f"registry.example.com/python@sha256:{'0' * 64}"
GOOD = {"Env": ["PATH=/usr/bin", *(f"{name}={value}" for name, value in ENV.items())], "Cmd": ["python3"], "Entrypoint": ["/start"]}


@pytest.fixture
def serving(tmp_path: Path) -> Path:
    (tmp_path / "serving").mkdir()
    (tmp_path / "serving/__main__.py").write_text("# server\n")
    (tmp_path / "serving/Dockerfile").write_text("# not part of it\n")
    (tmp_path / "serving/requirements.lock").write_text("# nothing but Python\n")
    return tmp_path / "serving"


def built(layout: Layout, serving: Path, config: dict, machine: str = "amd64") -> Base:
    """As an engine pushes what it built under the name of these inputs, then read by packaging."""
    layer = {**layout.put(DOCKER_LAYER, b"layer")}
    stored = layout.put(CONFIG, canonical({"architecture": machine, "config": config, "rootfs": {"diff_ids": ["sha256:1"]}}))
    manifest = layout.put(DOCKER_MANIFEST, canonical({"config": stored, "layers": [layer]}))
    layout.name(manifest["digest"], key_of(serving, ROOTFS))
    return stored_base(serving, ROOTFS, layout)


def test_what_an_engine_built_is_a_base_in_oci_s_own_words(tmp_path: Path, serving: Path) -> None:
    base = built(Layout(tmp_path / "images"), serving, GOOD)

    assert [layer["mediaType"] for layer in base.layers] == [LAYER]
    assert (base.diff_ids, base.python, base.env) == (("sha256:1",), "python3", {"PATH": "/usr/bin", **ENV})


@pytest.mark.parametrize(
    ("config", "machine"),
    [
        (GOOD, "arm64"),
        ({**GOOD, "Cmd": None}, "amd64"),
        ({**GOOD, "Env": None}, "amd64"),
        ({**GOOD, "Env": ["PYTHONPATH=/elsewhere"]}, "amd64"),
        ({}, "amd64"),
    ],
)
def test_what_could_not_serve_is_no_base(tmp_path: Path, serving: Path, config: dict, machine: str) -> None:
    with pytest.raises(NoBase, match=r"is no serving base for amd64: make it with images.base or serving/Dockerfile"):
        built(Layout(tmp_path / "images"), serving, config, machine)


def test_the_context_holds_what_the_layers_would_and_nothing_that_lay_there(tmp_path: Path, serving: Path) -> None:
    uv = str(ROOT / ".venv/uv/bin/uv")

    write_context(serving, tmp_path / "context", uv)

    files = {path.relative_to(tmp_path / "context").as_posix() for path in (tmp_path / "context").rglob("*") if path.is_file()}
    assert files == {"app/serving/__main__.py", "app/requirements.lock"}
    with pytest.raises(NoBase, match="context exists already: remove it"):
        write_context(serving, tmp_path / "context", uv)


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("registry.example.com/models/serving-base", "registry.example.com/models/serving-base:abc"),
        ("http://registry.example.com:5000/serving-base", "registry.example.com:5000/serving-base:abc"),
    ],
)
def test_the_name_to_push_under_is_one_that_docker_takes(name: str, tag: str) -> None:
    assert tag_of(Registry(address_of(name)), "abc") == tag
