"""Sweeps that lose a trial's process, a node, their MLflow server, their disk and their driver, and must end correctly.

    python benchmarks/chaos.py

Each sweep runs on a Ray cluster of two nodes and records to an MLflow server, all on this machine. At random moments
and in random order, each of these failures happens once: the process of a trial is killed with -9; a node is killed
with everything on it, and restarted; the server is killed, and restarted after 60 seconds; the disk of the server's
database is full for 20 seconds (a small file system in memory, which needs root; skipped otherwise); the driver is
killed, and the sweep is resumed with `--resume`.

Afterwards the journal must contain each trial once, finished, with each epoch once, and MLflow must contain exactly
these trials, with each epoch once, and no run with the status "running".
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
from mlflow import MlflowClient

from keras_cnns.tracking import Store
from tuning.running.journal import Journal

TRIALS, EPOCHS = 8, 12
SWEEP = (
    "sweep", "densenet", "--trials", str(TRIALS), "--epochs", str(EPOCHS), "--scheduler", "none",
    "--set", "blocks=2,2", "--set", "growth_rate=4..12", "--set", "batch_size=16", "--json",
)  # fmt: skip
DISK_MEGABYTES = 24


class World:
    """A cluster, an MLflow server and a sweep, all of which can be hurt.

    Args:
        folder: Where everything is kept.
        seed: The sweep's seed.
        away: Seconds that the server is away for.
        full: Seconds that its disk is full for.
    """

    def __init__(self, folder: Path, seed: int, *, away: float, full: float) -> None:
        self.folder, self.seed, self.away, self.full = folder, seed, away, full
        self.ray_port, self.server_port = free_port(), free_port()
        self.disk = folder / "disk"
        self.disk.mkdir()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.returning = threading.Timer(0, lambda: None)
        self.returning.start()

    def start(self, name: str, *command: str) -> None:
        """Start a process of ours; what it says goes to a file."""
        environment = {**os.environ, "RAY_AUTH_MODE": "disabled"}
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", *command], cwd=self.folder, stdout=log, stderr=log, env=environment
            )

    def start_head(self) -> None:
        """Start the cluster's first node, which the driver is on."""
        self.start(
            "head", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus=1", f"--port={self.ray_port}",
            "--include-dashboard=false", "--object-store-memory=100000000", "--disable-usage-stats",
        )  # fmt: skip
        wait_for(lambda: answers(self.ray_port), "the cluster")

    def start_node(self) -> None:
        """Start the node that is going to be killed."""
        self.start(
            "node", "ray.scripts.scripts", "start", "--block", "--num-cpus=1", f"--address=127.0.0.1:{self.ray_port}",
            "--object-store-memory=100000000", "--disable-usage-stats",
        )  # fmt: skip

    def start_server(self) -> None:
        """Start the MLflow server."""
        self.start(
            "server", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.server_port), "--workers", "1",
            "--backend-store-uri", f"sqlite:///{self.disk}/mlflow.db",
            "--artifacts-destination", str(self.folder / "artifacts"),
        )  # fmt: skip
        wait_for(lambda: healthy(self.server_port), "the MLflow server")

    def start_driver(self, *more: str) -> None:
        """Start the sweep."""
        self.start(
            "driver", "keras_cnns", *SWEEP, "--seed", str(self.seed), "--ray-address", f"127.0.0.1:{self.ray_port}",
            "--tracking-uri", f"http://127.0.0.1:{self.server_port}", *more,
        )  # fmt: skip

    def journal(self) -> Journal:
        """Return the sweep's journal."""
        return Journal(next(iter(self.folder.glob("runs/sweeps/*/journal.jsonl")), Path("nowhere")))

    def epochs(self) -> int:
        """Return how many epochs of all trials are done."""
        return sum(len(state.curve) for state in self.journal().trials().values())

    def kill_trial(self) -> None:
        """Kill a process that trains."""
        training = [
            process
            for name in ("head", "node")
            for process in family(self.processes[name])
            if "ImplicitFunc" in command_of(process)
        ]
        for process in training[:1]:
            process.kill()
        print("    a trial's process" if training else "    none trains", flush=True)

    def kill_node(self) -> None:
        """Kill a node and all that runs on it; it comes back."""
        for process in family(self.processes["node"]):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.processes["node"].wait()
        time.sleep(5)
        self.start_node()

    def kill_server(self) -> None:
        """Kill the server; it comes back a while later, while other things happen."""
        for process in family(self.processes["server"]):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.processes["server"].wait()
        self.returning = threading.Timer(self.away, self.start_server)
        self.returning.start()

    def fill_disk(self) -> None:
        """Fill the file system of the server's database for a while."""
        filling = self.disk / "filling"
        with contextlib.suppress(OSError), filling.open("wb") as file:
            while True:
                file.write(bytes(4096))
                file.flush()
        time.sleep(self.full)
        filling.unlink()

    def kill_driver(self) -> None:
        """Kill the driver and resume, unless it has ended."""
        driver = self.processes["driver"]
        if driver.poll() is not None:
            return
        driver.kill()
        driver.wait()
        self.returning.join()  # nobody resumes while the server is away: that is one line, and tried again
        self.start_driver("--resume")

    def stop(self) -> None:
        """End whatever still runs."""
        self.returning.join()
        for process in self.processes.values():
            for member in family(process):
                with contextlib.suppress(psutil.NoSuchProcess):
                    member.kill()
            process.wait()


def family(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Return a process and all below it, the innermost last."""
    try:
        found = psutil.Process(process.pid)
        return [found, *found.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def command_of(process: psutil.Process) -> str:
    """Return a process's command line, or "" where it is gone."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def answers(port: int) -> bool:
    """Return whether somebody listens on a port."""
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


def healthy(port: int) -> bool:
    """Return whether an MLflow server answers on a port."""
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
    except OSError:
        return False
    return True


def wait_for(holds: Callable[[], bool], what: str, seconds: float = 120) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise SystemExit(f"{what} does not come within {seconds:.0f} s")
        time.sleep(0.2)


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """Lay a small file system over a folder where that is allowed."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_MEGABYTES}m", "tmpfs", str(folder)],
        check=False,
        capture_output=True,
    )
    try:
        yield mounted.returncode == 0
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", "--lazy", str(folder)], check=False)


def faults_of(world: World) -> list[str]:
    """Return what journal and store have wrong, in words; nothing where the sweep ended right."""
    events = Counter((event["trial"], event["event"]) for event, _ in world.journal().read())
    wrong = [
        f"journal: trial {trial} has {events[trial, name]} of {name}"
        for trial in range(TRIALS)
        for name, count in (("candidate", 1), ("start", 1), ("epoch", EPOCHS), ("end", 1))
        if events[trial, name] != count
    ]
    wrong += [
        f"journal: trial {number} is {state.status} {state.reason}"
        for number, state in world.journal().trials().items()
        if state.status != "finished" or number >= TRIALS
    ]
    store = Store(f"http://127.0.0.1:{world.server_port}")
    runs = store.runs(experiment="sweep")
    if sorted(run.tags["trial"] for run in runs) != sorted(map(str, range(TRIALS))):
        wrong.append(f"MLflow: has trials {sorted(run.tags['trial'] for run in runs)}")
    for run in runs:
        steps = [step for step, _ in store.curves(run.id)["val_accuracy"]]
        if run.status != "finished" or steps != list(range(1, EPOCHS + 1)):
            wrong.append(f"MLflow: {run.name} is {run.status} with epochs {steps}")
    client = MlflowClient(store.uri)
    everywhere = [experiment.experiment_id for experiment in client.search_experiments()]
    left = client.search_runs(everywhere, "attributes.status = 'RUNNING'")
    return wrong + [f"MLflow: {run.info.run_name} is left running" for run in left]


def hurt(world: World, chance: random.Random, kinds: list[str]) -> None:
    """Let everything happen, each at a random number of epochs done, in random order."""
    chance.shuffle(kinds)
    moments = sorted(chance.sample(range(1, TRIALS * EPOCHS * 3 // 4), len(kinds)))
    for kind, moment in zip(kinds, moments, strict=True):
        wait_for(
            lambda moment=moment: world.epochs() >= moment or world.processes["driver"].poll() is not None, kind, 600
        )
        print(f"  {world.epochs():3d} epochs: {kind.replace('_', ' ')}", flush=True)
        if world.processes["driver"].poll() is not None:
            return
        getattr(world, kind)()


def main() -> None:
    """Run the sweeps and print how each ended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweeps", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--away", type=float, default=60.0, help="seconds that the MLflow server is away for")
    parser.add_argument("--full", type=float, default=20.0, help="seconds that its disk is full for")
    arguments = parser.parse_args()
    right = 0
    for sweep in range(arguments.sweeps):
        chance = random.Random(arguments.seed + sweep)  # noqa: S311 - moments, not secrets
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
            world = World(Path(name), arguments.seed + sweep, away=arguments.away, full=arguments.full)
            with small_disk(world.disk) as can_fill:
                kinds = ["kill_trial", "kill_node", "kill_server", "kill_driver", *(["fill_disk"] if can_fill else [])]
                print(f"sweep {sweep + 1}: {len(kinds)} kinds", flush=True)
                begun = time.perf_counter()
                try:
                    world.start_server()
                    world.start_head()
                    world.start_node()
                    world.start_driver()
                    hurt(world, chance, kinds)
                    wait_for(lambda world=world: world.processes["driver"].poll() is not None, "the end", 900)
                    code = world.processes["driver"].returncode
                    wrong = [f"the driver ended with {code}"] if code else faults_of(world)
                finally:
                    world.stop()
                right += not wrong
                print(f"  {'; '.join(wrong) or 'ended right'}, {time.perf_counter() - begun:.0f} s", flush=True)
                if wrong:
                    print((world.folder / "driver.log").read_text("utf-8")[-3000:], flush=True)
    print(f"{right} of {arguments.sweeps} sweeps ended right")


if __name__ == "__main__":
    main()
