"""A server answers as `predict` does, whoever asks and whatever is sent to it, and shows the answer on a page."""

from __future__ import annotations

import _thread
import base64
import http.client
import json
import re
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page
from saved_networks import save_run, train_network

from benchmarks.hostile_uploads import DICOM, FORM, UPLOADS, HostileUpload, form, part
from keras_cnns import evaluate, load, predict
from keras_cnns.cli import main
from keras_cnns.errors import EvaluationError
from keras_cnns.evaluation import evaluation
from keras_cnns.serving.app import NOTICE, render_page
from keras_cnns.serving.served_network import load_served_network
from keras_cnns.serving.server import Server, start_server
from keras_cnns.serving.uploads import Limits
from keras_cnns.tracking import Store
from keras_cnns.tracking.mlflow_model import NETWORK
from keras_cnns.tracking.registry import Registry

MARKUP = """<img src=x onerror="document.title='attacked'">"""
LIMITS = Limits(bytes=2**20, seconds=0.4, requests=16)


class Served:
    """A server for a network of two classes, and the images that it was trained on."""

    def __init__(self, folder: Path) -> None:
        generator = np.random.default_rng(0)
        self.folder, self.uri = folder, f"sqlite:///{folder}/mlflow.db"
        rows = ["path,label,split"]
        for index in range(120):
            pixels = generator.integers(70 * (index % 2), 170 + 70 * (index % 2), (16, 16), np.uint8)
            Image.fromarray(pixels).save(folder / f"{index:03}.png")
            label = ("dark", MARKUP.replace('"', '""'))[index % 2]
            rows.append(f'{index:03}.png,"{label}",{("train", "train", "validation", "test")[index // 2 % 4]}')
        (folder / "cases.csv").write_text("\n".join(rows), "utf-8")
        self.files = sorted(folder.glob("*.png"))[:40]
        data = load(str(folder / "cases.csv"))
        self.store = Store(self.uri)
        self.id = save_run(self.store, train_network(data, epochs=2), data)
        evaluate(self.id, data, tracking_uri=self.uri)
        self.expected = predict(self.id, self.files, confidence_level=0.9, tracking_uri=self.uri).to_dicts()
        self.server = start_server(self.id, port=0, tracking_uri=self.uri, show_training_cases=True, limits=LIMITS)
        self.port = int(self.server.address.rpartition(":")[2].strip("/"))

    def send(
        self, body: bytes, content_type: str = "image/png", query: str = "confidence_level=0.9"
    ) -> tuple[int, Any, http.client.HTTPMessage]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("POST", f"/predict?{query}", body, {"Content-Type": content_type})
        reply = connection.getresponse()
        answer = json.loads(reply.read())
        connection.close()
        return reply.status, answer, reply.headers

    def check(self, answer: dict[str, Any], expected: dict[str, Any], name: str = "image 1") -> None:
        """Check that an answer is that of `predict`."""
        (found,) = answer["predictions"]
        assert found["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-6)
        rounded = {"probabilities": expected["probabilities"], "file": name}
        assert {**found, **rounded} == {**expected, "file": name}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "write_report", lambda *_: None)
        found = Served(tmp_path_factory.mktemp("served"))
    yield found
    found.server.close()


def test_concurrent_clients_get_the_answers_of_predict(served: Served) -> None:
    function = served.server._service.served.classifier.network.with_features.predict_function
    traces = function.experimental_get_tracing_count()
    with ThreadPoolExecutor(8) as clients:
        answers = [*clients.map(lambda file: served.send(file.read_bytes()), served.files)]
    for (status, answer, _), expected in zip(answers, served.expected, strict=True):
        assert status == 200
        assert answer["run_id"] == served.id
        assert answer["notice"] == NOTICE
        served.check(answer, expected)
    assert function.experimental_get_tracing_count() == traces, "each trace would keep memory"


def test_a_file_a_form_and_json_get_the_same_answer(served: Served) -> None:
    content = served.files[0].read_bytes()
    text = base64.b64encode(content).decode()
    name = "../<b>ä</b>.png"
    for body, kind, shown in (
        (content, "application/octet-stream", "image 1"),
        (form(part(name, content)), FORM, name),
        (json.dumps({"image": text, "file": name}).encode(), "application/json", name),
        (json.dumps({"image": f"data:image/png;base64,{text}"}).encode(), "application/json", "image 1"),
    ):
        status, answer, _ = served.send(body, kind)
        assert status == 200
        served.check(answer, served.expected[0], shown)
    assert served.send(DICOM, "application/dicom")[0] == 200


def test_without_a_confidence_level_there_is_no_prediction_set(served: Served) -> None:
    _, answer, _ = served.send(served.files[0].read_bytes(), query="")
    (plain,) = predict(served.id, served.files[:1], tracking_uri=served.uri).to_dicts()
    served.check(answer, plain)


@pytest.mark.parametrize("upload", UPLOADS, ids=[upload.name for upload in UPLOADS])
def test_a_hostile_upload_is_refused_in_one_line(served: Served, upload: HostileUpload) -> None:
    status, text = upload.send(served.port, LIMITS.bytes)
    assert status == upload.status, text
    (message,) = json.loads(text).values()
    assert text.count("\n") == 1
    assert not any(part in message for part in ("Traceback", "0.png: ", "site-packages", str(served.folder)))
    status, answer, _ = served.send(served.files[1].read_bytes())
    assert status == 200
    served.check(answer, served.expected[1])


def test_more_requests_than_can_wait_are_refused_with_a_time_to_return(served: Served) -> None:
    service = served.server._service
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service, "_requests", LIMITS.requests)
        status, answer, headers = served.send(served.files[0].read_bytes())
    assert status == 503
    assert "waiting" in answer["error"]
    assert headers["Retry-After"] == "1"


def test_an_image_that_the_network_cannot_predict_does_not_fail_the_others(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = served.server._service.thread._network
    found = type(network).predict

    def fail_on_white(self: Any, pixels: np.ndarray) -> Any:
        if (pixels == 255).all(axis=(1, 2, 3)).any():
            raise EvaluationError("not finite")
        return found(self, pixels)

    monkeypatch.setattr(type(network), "predict", fail_on_white)
    white = np.full((1, 16, 16, 1), 255, np.uint8)
    thread = served.server._service.thread
    futures = [thread.predict(pixels) for pixels in (white, white - 1, white)]
    assert len(futures[1].result(10).probabilities) == 1
    for future in (futures[0], futures[2]):
        with pytest.raises(EvaluationError, match="not finite"):
            future.result(10)


def test_an_unexpected_failure_is_one_line_without_details(
    served: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr("keras_cnns.serving.served_network.ServedNetwork.explain", fail)
    status, answer, _ = served.send(served.files[0].read_bytes(), query="explain=true")
    assert status == 500
    assert "secret" not in str(answer)
    assert "secret" in caplog.text
    assert served.send(served.files[0].read_bytes())[0] == 200


def test_an_explanation_has_a_heatmap_and_the_training_image_itself_is_the_most_similar(served: Served) -> None:
    content = served.files[1].read_bytes()
    _, answer, _ = served.send(content, query="explain=true")
    explanation = answer["predictions"][0]["explanation"]
    assert explanation["heatmap"]["class"] == answer["predictions"][0]["predicted"]
    assert explanation["heatmap"]["overlay"] != explanation["image"]
    assert explanation["similar_training_cases"][0] == {"classes": [MARKUP], "image": explanation["image"]}
    _, plain, _ = served.send(content, query="")
    assert "explanation" not in plain["predictions"][0]


def test_the_page_loads_nothing_from_elsewhere_and_sets_no_cookie(served: Served) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", served.port)
    for path in ("/", "/page.css", "/page.js", "/health"):
        connection.request("GET", path)
        reply = connection.getresponse()
        text = reply.read().decode()
        assert reply.status == 200
        assert "default-src 'none'" in reply.headers["Content-Security-Policy"]
        assert not {"Set-Cookie", "Access-Control-Allow-Origin", "Server"} & set(reply.headers)
        assert not re.findall(r"""(?:src|href)="(?!data:,|page\.)|url\(|@import|import\(""", text)
        assert MARKUP not in text
    connection.close()


def choose(page: Page, file: Path) -> None:
    page.set_input_files("#file", file)
    page.wait_for_selector(".decision, .error")


def test_an_image_dropped_on_the_page_is_answered(served: Served, browser: Browser) -> None:
    page = browser.new_page()
    page.goto(served.server.address)
    dropped = page.evaluate_handle(
        """text => {
            const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], "<b>dropped</b>.png"));
            return transfer;
        }""",
        base64.b64encode(served.files[1].read_bytes()).decode(),
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": dropped})
    page.wait_for_selector(".decision")
    expected = served.expected[1]
    shown = page.locator("#answer").inner_text()
    assert MARKUP in page.locator(".decision").inner_text()
    assert "<b>dropped</b>.png" in shown
    for name, probability in expected["probabilities"].items():
        row = page.get_by_role("row", name=name)
        assert f"{probability:.3f}" in row.inner_text()
        assert row.locator(".threshold").count() == (name in expected["thresholds"])
    width = page.locator(".bar").last.bounding_box()
    mark = page.locator(".threshold").bounding_box()
    assert width is not None
    assert mark is not None
    position = (mark["x"] + mark["width"] / 2 - width["x"]) / width["width"]
    assert position == pytest.approx(*expected["thresholds"].values(), abs=0.02)
    assert page.get_by_alt_text(f"heatmap for {expected['predicted']}").evaluate("image => image.naturalWidth") == 16
    assert page.locator(".cases img").count() == 5
    assert page.get_by_text(NOTICE).first.is_visible()
    assert page.title() == "saved for cases.csv"
    page.close()


def test_the_page_is_used_by_keyboard_and_reports_what_is_not_an_image(
    served: Served, browser: Browser, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("text")
    page = browser.new_page()
    page.goto(served.server.address)
    page.keyboard.press("Tab")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Space")
    chooser.value.set_files(tmp_path / "notes.txt")
    page.wait_for_selector(".error")
    assert page.locator("#status").inner_text().startswith("notes.txt: no image can be read")
    choose(page, served.files[0])
    assert page.evaluate("document.activeElement.className") == "decision"
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_accessible_and_fits_the_screen(
    served: Served, browser: Browser, scheme: Literal["light", "dark"]
) -> None:
    page = browser.new_page(color_scheme=scheme, viewport={"width": 360, "height": 800})
    page.goto(served.server.address)
    choose(page, served.files[0])
    page.locator("summary").click()
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert "Intended use" in page.locator(".card").inner_text()
    page.close()


def test_a_file_has_no_card_and_no_detector_and_the_page_says_so(served: Served) -> None:
    file = Path(served.store.logged_model(served.id).artifact_location.removeprefix("file://")) / NETWORK
    from_file = load_served_network(file)
    assert from_file.card is None
    text = render_page(from_file, LIMITS)
    assert "There is no model card" in text
    assert "Images unlike the training images are not recognised" in text


def test_a_registered_model_is_served_with_its_card(served: Served) -> None:
    tags = {"score": "1", "data.fingerprint": "x"}
    Registry(served.store).register(served.id, "net", scored_by="score", tags=tags)
    registered = load_served_network("models:/net@champion", tracking_uri=served.uri)
    assert registered.card is not None
    assert registered.cases is None
    assert registered.classifier.run_id == served.id


def test_training_cases_that_have_changed_are_not_shown(served: Served) -> None:
    content = served.files[0].read_bytes()
    served.files[0].write_bytes(served.files[2].read_bytes())
    try:
        with pytest.raises(EvaluationError, match="have changed since the training"):
            load_served_network(served.id, tracking_uri=served.uri, show_training_cases=True)
    finally:
        served.files[0].write_bytes(content)


@pytest.mark.parametrize(("port", "reason"), [(None, "is in use"), (70_000, "is not possible")])
def test_a_port_that_cannot_be_used_is_one_line_with_a_free_one(
    served: Served, capsys: pytest.CaptureFixture[str], port: int | None, reason: str
) -> None:
    assert main(("serve", served.id, "--tracking-uri", served.uri, "--port", str(port or served.port))) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert reason in line
    assert "--port " in line


def test_ctrl_c_stops_the_server(
    served: Served,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wait = Server.wait

    def interrupt(server: Server) -> None:
        threading.Timer(0.2, _thread.interrupt_main).start()
        wait(server)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored in background processes
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    monkeypatch.setattr(Server, "wait", interrupt)
    assert main(("serve", served.id, "--tracking-uri", served.uri, "--port", "0")) == 130
    output = capsys.readouterr().out
    assert NOTICE in output
    address = output.partition("http://")[2].partition("/")[0]
    with pytest.raises(ConnectionRefusedError):
        http.client.HTTPConnection(address).request("GET", "/health")
