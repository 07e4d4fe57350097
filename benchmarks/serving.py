"""A server under load and attack: are answers lost or wrong, does its memory grow, what is the throughput?

    python benchmarks/serving.py

Trains a network for an epoch, serves it with `keras-cnns serve`, and sends the same images with one client and with
eight clients at a time. Every answer is compared with that of `keras-cnns predict`. Then it sends every request of
`hostile_uploads.py`, and the images once more.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from hostile_uploads import UPLOADS
from PIL import Image

from keras_cnns import load
from keras_cnns.serving.uploads import Limits

TOLERANCE = 1e-6


def run(folder: Path, *arguments: str) -> str:
    """Return the output of a command of `keras-cnns`."""
    command = [sys.executable, "-m", "keras_cnns", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


def send_all(port: int, contents: Sequence[bytes]) -> list[dict[str, Any]]:
    """Send images one after the other on one connection, and return the answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    answers = []
    for content in contents:
        connection.request("POST", "/predict", content, {"Content-Type": "image/png"})
        answers.append(json.loads(connection.getresponse().read()))
    connection.close()
    return answers


def send(port: int, contents: Sequence[bytes], clients: int) -> tuple[list[dict[str, Any]], float]:
    """Send images with several clients at a time; return the answers in the order of the images, and the seconds."""
    shares = [contents[client::clients] for client in range(clients)]
    begun = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        answered = [*pool.map(lambda share: send_all(port, share), shares)]
    seconds = time.perf_counter() - begun
    rows = itertools.zip_longest(*answered)
    return [answer for row in rows for answer in row if answer is not None], seconds


def count_wrong(answers: Sequence[dict[str, Any]], expected: Sequence[dict[str, Any]]) -> tuple[int, float]:
    """Return the number of answers with another decision or probabilities, and the largest difference."""
    wrong, largest = 0, 0.0
    for answer, right in zip(answers, itertools.cycle(expected), strict=False):
        (found,) = answer["predictions"]
        difference = max(abs(found["probabilities"][name] - value) for name, value in right["probabilities"].items())
        largest = max(largest, difference)
        wrong += found["predicted"] != right["predicted"] or difference > TOLERANCE
    return wrong, largest


def main() -> None:
    """Print what was measured; exit with 1 if an answer is lost or wrong or a hostile upload is not refused."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="resnet-cifar-20")
    parser.add_argument("--image-size", default="32")
    parser.add_argument("--requests", type=int, default=200)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = load("digits").training.images[: arguments.requests]
        for index, image in enumerate(images):
            Image.fromarray(image[..., 0].astype(np.uint8)).save(folder / f"{index:04d}.png")
        files = sorted(folder.glob("*.png"))
        run(folder, "train", arguments.network, "--set", "epochs=1", "--image-size", arguments.image_size,
            "--experiment", "serving")  # fmt: skip
        (trained,) = json.loads(run(folder, "compare", "serving", "--json"))
        run_id = trained.get("run_id") or trained["id"]
        expected = json.loads(run(folder, "predict", run_id, *map(str, files), "--json"))
        contents = [file.read_bytes() for file in files]
        contents = [*itertools.islice(itertools.cycle(contents), arguments.requests)]
        command = [sys.executable, "-m", "keras_cnns", "serve", run_id, "--port", "0"]
        with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as server:
            try:
                ok = measure(server, contents, expected)
            finally:
                server.send_signal(signal.SIGINT)
            begun = time.perf_counter()
            code = server.wait(30)
            print(f"Ctrl-C ended the server after {time.perf_counter() - begun:.2f} s with exit code {code}")
    sys.exit(not ok)


def measure(server: subprocess.Popen[str], contents: Sequence[bytes], expected: Sequence[dict[str, Any]]) -> bool:
    """Send everything, print the results, and return whether they are right."""
    line = server.stdout.readline() if server.stdout else ""
    port = int(re.search(r":(\d+)/", line)[1])  # type: ignore[index]
    process = psutil.Process(server.pid)

    def megabytes() -> float:
        return process.memory_info().rss / 2**20

    for clients in (8, 1):
        send(port, contents, clients)
    before = megabytes()
    print(f"{os.cpu_count()} cores, {len(contents)} requests")
    ok = True
    for clients in (1, 8, 1, 8):
        answers, seconds = send(port, contents, clients)
        wrong, largest = count_wrong(answers, expected)
        ok &= len(answers) == len(contents) and not wrong
        print(f"{clients} clients: {len(answers) / seconds:.0f} per second, {len(contents) - len(answers)} lost, "
              f"{wrong} wrong, largest difference {largest:.1e}, {megabytes() - before:+.1f} MiB")  # fmt: skip
    refused = 0
    for upload in UPLOADS:
        status, text = upload.send(port, Limits().bytes)
        if status == upload.status and text.startswith('{"error": '):
            refused += 1
        else:
            print(f"{upload.name}: {status} instead of {upload.status}: {text[:100]}")
    print(f"{refused} of {len(UPLOADS)} hostile uploads refused; {megabytes() - before:+.1f} MiB")
    wrong, _ = count_wrong(send(port, contents, 8)[0], expected)
    print(f"afterwards {wrong} wrong; {megabytes() - before:+.1f} MiB")
    return ok and refused == len(UPLOADS) and not wrong


if __name__ == "__main__":
    main()
