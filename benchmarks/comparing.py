"""5,000 runs in a store: time of `compare` compared with MLflow's search, and speed of its page in a browser.

    python benchmarks/comparing.py

The runs are recorded as training records them, 500 networks with ten seeds each. `compare` and `mlflow.search_runs` run
alternately in separate processes. Headless Chromium opens the page and measures the time to load it and to sort it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from keras_cnns.tracking import RunDescription, Store

SEEDS = 10
SEARCH = "import mlflow, sys; mlflow.search_runs(search_all_experiments=True, max_results=50_000)"
TIMED = """<script>addEventListener('load', () => {
  const button = [...document.querySelectorAll('thead button')].find((one) => one.textContent === 'parameters');
  const begun = performance.now();
  button.click();
  document.body.getBoundingClientRect();
  document.title = JSON.stringify({ loaded: begun, sorted: performance.now() - begun });
});</script></body>"""


def fill(store: Store, runs: int) -> None:
    """Make runs as trainings do."""
    source = random.Random(0)  # noqa: S311
    for number in range(runs):
        growth_rate = 2 + number // SEEDS
        description = RunDescription(
            name=f"trial-{number:04d}", model="densenet-bc-40", family="densenet", seed=number % SEEDS,
            settings={"growth_rate": growth_rate, "blocks": "4,4,4", "bottleneck_width": 4, "compression": 0.5},
            recipe={"epochs": 1, "learning_rate": 0.002, "batch_size": 64, "optimizer": "adamw"},
            data_name="photos", data_fingerprint="f00d", parameters=1000 * growth_rate, macs=90_000 * growth_rate,
        )  # fmt: skip
        run_id = store.start(description, experiment="many")
        score = 0.9 + 0.0001 * growth_rate + source.gauss(0, 0.01)
        store.record(run_id, 1, {"val_accuracy": score, "val_auc": score, "val_loss": 1 - score, "seconds": 1.0})
        store.finish(run_id)
        if sys.stderr.isatty():
            print(f"\r{number + 1} of {runs} runs", end="", file=sys.stderr)


def seconds_of(command: list[str], uri: str) -> float:
    """Return how long a command takes."""
    begun = time.perf_counter()
    subprocess.run(command, env={**os.environ, "MLFLOW_TRACKING_URI": uri}, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begun


def in_browser(browser: str, page: Path) -> dict[str, float]:
    """Return the milliseconds until a page was loaded, and those that it took to sort."""
    timed = page.with_name("timed.html")
    timed.write_text(page.read_text("utf-8").replace("</body>", TIMED), "utf-8")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", timed.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (title,) = re.findall(r"<title>(.*?)</title>", done.stdout)[:1]
    return {name: float(value) for name, value in json.loads(title).items()}


def main() -> None:
    """Make the runs, and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5000)
    parser.add_argument("--times", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"sqlite:///{folder}/mlflow.db")
        fill(store, arguments.runs)
        ours, search = [sys.executable, "-m", "keras_cnns", "compare"], [sys.executable, "-c", SEARCH]
        times = [(seconds_of(ours, store.uri), seconds_of(search, store.uri)) for _ in range(arguments.times)]
        compared, searched = (statistics.median(each) for each in zip(*times, strict=True))
        print(f"{arguments.runs} runs: compare {compared:.2f} s, mlflow.search_runs {searched:.2f} s")
        print(f"compare takes {compared / searched:.2f} of the time of MLflow's search alone")
        page = Path(folder) / "page.html"
        written = seconds_of([*ours, "--per-run", "--html", str(page)], store.uri)
        print(f"with --per-run --html: {written:.2f} s, {page.stat().st_size / 2**20:.1f} MiB")
        browser = shutil.which("chromium") or shutil.which("chromium-browser")
        if browser is None:
            print("no Chromium here, so the page was not opened")
            return
        opened = [in_browser(browser, page) for _ in range(arguments.times)]
        for name, what in (("loaded", "opened"), ("sorted", "sorted")):
            print(f"page {what} in {statistics.median(found[name] for found in opened):.0f} ms")


if __name__ == "__main__":
    main()
