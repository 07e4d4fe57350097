"""Weights in repositories of Hugging Face, served by a local server that answers as theirs."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from keras_cnns import build
from keras_cnns.errors import WeightsError
from keras_cnns.networks import registry
from keras_cnns.networks.weights import to_state_dict
from keras_cnns.pretrained.hub import read_preprocessing
from keras_cnns.pretrained.references import find_weights
from tests.test_pretrained import SHAPE, SMALL
from tests.test_weights import randomise

constants = pytest.importorskip("huggingface_hub.constants")
REVISION = "0123456789abcdef0123456789abcdef01234567"
CONFIGURATION = {"architecture": "resnet18", "pretrained_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}}
CARD = "---\nlicense: apache-2.0\ntags:\n- timm\n---\n# A network\n"


class Hub(BaseHTTPRequestHandler):
    """Answers requests for `/ORGANISATION/NAME/resolve/REVISION/FILE`."""

    files: dict[str, bytes]

    def answer(self, *, with_content: bool) -> None:
        repository, _, name = self.path.strip("/").partition("/resolve/")
        name = name.partition("/")[2]
        if repository != "timm/small":
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content = self.files.get(name)
        if content is None:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("X-Repo-Commit", REVISION)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", REVISION)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if with_content:
            self.wfile.write(content)

    def do_HEAD(self) -> None:
        self.answer(with_content=False)

    def do_GET(self) -> None:
        self.answer(with_content=True)

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes]]:
    """The files of the repository `timm/small`."""
    model = registry.build("resnet18", input_shape=SHAPE, classes=5, **SMALL)
    randomise(model)
    content = safetensors.numpy.save(to_state_dict(model, "timm"))
    files = {
        "model.safetensors": content, "config.json": json.dumps(CONFIGURATION).encode(), "README.md": CARD.encode(),
    }  # fmt: skip
    handler = type("Own", (Hub,), {"files": files})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        template = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        yield files
        server.shutdown()


def test_a_repository_of_timm_has_weights_preprocessing_and_licence(
    files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = find_weights("timm:small", "resnet18")
    assert found.licence == "apache-2.0"
    assert found.source == f"hf://timm/small@{REVISION[:12]}/model.safetensors"
    assert found.sha256 == hashlib.sha256(files["model.safetensors"]).hexdigest()
    assert found.preprocessing is not None
    np.testing.assert_allclose(found.preprocessing.scale, 1 / 127.5)
    np.testing.assert_allclose(found.preprocessing.offset, -1.0)
    model = build("resnet18", input_shape=SHAPE, classes=5, weights="hf://timm/small", **SMALL)
    stored = safetensors.numpy.load(files["model.safetensors"])["conv1.weight"]
    np.testing.assert_array_equal(model.get_layer("stem_conv").get_weights()[0], stored.transpose(2, 3, 1, 0))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert find_weights("timm:small", "resnet18") == found


@pytest.mark.usefixtures("files")
def test_a_repository_that_does_not_exist_is_one_line() -> None:
    with pytest.raises(WeightsError, match=r"^hf://timm/other: [^\n]*$"):
        find_weights("timm:other", "resnet18")


def test_a_repository_without_weights_is_one_line(files: dict[str, bytes]) -> None:
    del files["model.safetensors"]
    with pytest.raises(WeightsError, match=r"^timm/small has no weights; it would have to contain model.safetensors"):
        find_weights("timm:small", "resnet18")


@pytest.mark.parametrize(
    "content", ["{", '{"mean": 0.5, "std": 0.5}', '{"mean": [0.5], "std": [0.0]}', '{"mean": ["a"], "std": [1]}', "[1]"]
)
def test_a_configuration_that_is_not_valid_is_one_line(content: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(content, "utf-8")
    with pytest.raises(WeightsError, match=r"^[^\n]*config.json: the configuration .* is not valid \([^\n]*$"):
        read_preprocessing(path)
    path.write_text('{"pretrained_cfg": null}', "utf-8")
    assert read_preprocessing(path) is None


@pytest.mark.usefixtures("files")
def test_without_a_connection_a_repository_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(
        WeightsError, match=r"^hf://timm/small/model.safetensors is not in the cache, and downloads are f"
    ):
        find_weights("timm:small", "resnet18")
