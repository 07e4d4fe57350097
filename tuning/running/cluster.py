"""The machines that trials run on: a Ray of our own or a cluster's, and what of them each trial gets."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import keras_cnns
from keras_cnns.errors import ClusterError, StoreError
from keras_cnns.networks.settings import FloatRange, IntRange, NoneOr, checked
from keras_cnns.units import human
from tuning.running.storage import Storage, reach, said
from tuning.running.workarounds import ENVIRONMENT, shut_down

CORES = IntRange(1, 4096)
GPUS = NoneOr(FloatRange(0.0, 1024.0))
MEMORY = NoneOr(IntRange(1, 2**63 - 1))
CLIENT = "ray://"
SECONDS_TO_CONNECT = 10.0
SECONDS_TO_LOOK = 120.0
RAY_NAMES = {"cores": "CPU", "gpus": "GPU", "memory": "memory"}


@dataclass(frozen=True, kw_only=True)
class Machines:
    """What a sweep runs on, and what of it each trial gets.

    Attributes:
        ray_address: A running cluster: "auto" for the one that this machine belongs to, or "HOST:PORT" of its head;
            None for a Ray of our own on this machine.
        cores: How many cores all trials use together; None for all there are.
        cores_per_trial: How many each trial gets, as threads of its backend.
        gpus_per_trial: How many GPUs; below 1 several trials share one; None for 1 where there are any.
        memory_per_trial: Bytes that each trial is counted with, so that fewer run at a time where memory is short; None
            to leave memory out of account.
        storage: URI that all machines reach, where trials keep their checkpoints; None for the sweep's folder.

    Raises:
        SettingError: A number is not legal.
        ClusterError: They cannot go together.
    """

    ray_address: str | None = None
    cores: int | None = None
    cores_per_trial: int = 1
    gpus_per_trial: float | None = None
    memory_per_trial: int | None = None
    storage: str | None = None

    def __post_init__(self) -> None:
        """Check all that can be checked without Ray."""
        checked("cores", NoneOr(CORES), self.cores)
        checked("cores_per_trial", CORES, self.cores_per_trial)
        checked("memory_per_trial", MEMORY, self.memory_per_trial)
        gpus = checked("gpus_per_trial", GPUS, self.gpus_per_trial) or 0.0
        if gpus > 1 and gpus % 1:
            raise ClusterError(f"gpus_per_trial {gpus:g}: a trial gets whole GPUs, or a part of one.")
        if self.cores is not None or self.ray_address is None:
            used = self.own_cores
            if self.cores_per_trial > used:
                raise ClusterError(
                    f"cores_per_trial {self.cores_per_trial}: all trials together have {used}; ask for {used} or fewer."
                )
        if (self.ray_address or "").startswith(CLIENT):
            raise ClusterError(
                f"ray_address {self.ray_address}: through Ray's client Tune would run on the cluster's head, away from "
                f"the sweep's folder; run the sweep on a machine of the cluster, with ray_address='auto'."
            )

    @property
    def own_cores(self) -> int:
        """How many cores a Ray of our own gets."""
        return self.cores or os.cpu_count() or 1

    @property
    def max_concurrent_trials(self) -> int | None:
        """How many of a cluster's trials are to run at a time; None for as many as it holds."""
        if self.cores is None or self.ray_address is None:
            return None
        return self.cores // self.cores_per_trial

    def kept_in(self, place: Path) -> Storage | None:
        """Return where the trials of the sweep with this folder keep their checkpoints, if it is not that folder."""
        return Storage(self.storage, place.name) if self.storage else None

    def trial_resources(self) -> dict[str, float]:
        """Return what Ray reserves for each trial, by Ray's names; Ray must be connected."""
        gpus = self.gpus_per_trial
        if gpus is None:
            gpus = 1.0 if ray.cluster_resources().get("GPU") else 0.0
        wanted = {"CPU": float(self.cores_per_trial), "GPU": gpus, "memory": float(self.memory_per_trial or 0)}
        return {name: amount for name, amount in wanted.items() if amount}

    def at_once(self) -> int:
        """Return how many trials the machines hold at a time; Ray has to be connected.

        Raises:
            ClusterError: Not even one.
        """
        machines = [node["Resources"] for node in alive()]
        held = trials_that_fit(machines, self.trial_resources())
        return min(held, self.max_concurrent_trials or held)


def trials_that_fit(machines: Sequence[Mapping[str, float]], resources: Mapping[str, float]) -> int:
    """Return how many trials the machines hold at a time, each trial on one machine.

    Args:
        machines: The resources of each machine, by Ray's names.
        resources: The resources of each trial.

    Raises:
        ClusterError: Not even one.
    """
    held = sum(fitting(resources, machine) for machine in machines)
    if not held:
        raise ClusterError(too_much(resources, machines))
    return held


def fitting(wanted: Mapping[str, float], machine: Mapping[str, float]) -> int:
    """Return how many trials of one worker fit on a machine."""
    return int(min(machine.get(name, 0.0) / amount + 1e-9 for name, amount in wanted.items()))


def too_much(wanted: Mapping[str, float], machines: Sequence[Mapping[str, float]]) -> str:
    """Say what of a trial's wishes no machine can meet."""
    for argument, name in RAY_NAMES.items():
        most = max((machine.get(name, 0.0) for machine in machines), default=0.0)
        if wanted.get(name, 0.0) > most:
            has = f"more than {human_amount(most)}; ask for that or less" if most else "any; leave it out"
            return f"{argument}_per_trial {human_amount(wanted[name])}: no machine has {has}."
    together = ", ".join(f"{human_amount(wanted[name])} {name}" for name in RAY_NAMES.values() if name in wanted)
    return f"a trial is to have {together}, and no machine has all that; ask for less."


def human_amount(amount: float) -> str:
    """Write an amount of cores, GPUs or bytes."""
    return human(amount) if amount >= 10_000 else f"{amount:g}"


@contextlib.contextmanager
def connected(machines: Machines) -> Iterator[None]:
    """Connect to Ray: the one that this process has already, the cluster's, or one of our own that ends with it.

    Raises:
        ClusterError: The cluster cannot be reached.
    """
    if ray.is_initialized():
        yield
        return
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
    if machines.ray_address is None:
        ray.init(address="local", num_cpus=machines.own_cores, include_dashboard=False, **quiet)
    else:
        check_listening(machines.ray_address)
        try:
            ray.init(address=machines.ray_address, **quiet)
        except ConnectionError:
            raise ClusterError(
                f"ray_address {machines.ray_address}: no Ray on this machine lets us in; `ray start "
                f"--address=HEAD:6379` makes it one of a cluster, and RAY_AUTH_MODE=token shows a cluster its token."
            ) from None
        except (RuntimeError, ValueError) as error:
            raise ClusterError(f"ray_address {machines.ray_address}: {said(error)}.") from None
    try:
        yield
    finally:
        shut_down()


def check_listening(address: str) -> None:
    """Raise a ClusterError where nobody listens at an address: Ray itself would wait for a minute, and say a page."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ClusterError(
            f"ray_address {address!r}: write auto, or HOST:PORT of the cluster's head, such as head:6379."
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), SECONDS_TO_CONNECT).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(
            f"ray_address {address}: nobody answers ({said(error)}); `ray start --head` or `ray status` on the head "
            f"say its address."
        ) from None


def check_machines(machines: Machines, folder: Path) -> None:
    """Find out what cannot be met before anything starts: resources, and on a cluster what each machine has to have.

    Args:
        machines: What the sweep is to run on.
        folder: What sweeps are kept in.

    Raises:
        ClusterError: It cannot be met.
        StoreError: The storage cannot be written.
    """
    place = machines.storage or str(folder.resolve())
    elsewhere = machines.ray_address is not None or machines.storage is not None
    if elsewhere or machines.gpus_per_trial or machines.memory_per_trial:
        with connected(machines):
            machines.at_once()
            if elsewhere:
                with written_marker(place) as marker:
                    check_nodes(place, marker, shared=machines.storage is None)


@contextlib.contextmanager
def written_marker(uri: str) -> Iterator[str]:
    """Write an empty file where checkpoints are to be kept, give its name, and remove it.

    Raises:
        StoreError: It cannot be written there.
    """
    filesystem, path = reach(uri)
    name = f".keras-cnns-{uuid.uuid4().hex}"
    try:
        filesystem.create_dir(path)
        with filesystem.open_output_stream(f"{path}/{name}"):
            pass
    except OSError as error:
        raise StoreError(f"{uri} cannot be written: {said(error)}.") from None
    try:
        yield name
    finally:
        with contextlib.suppress(OSError):
            filesystem.delete_file(f"{path}/{name}")


def check_nodes(place: str, marker: str, *, shared: bool) -> None:
    """Ask a process on each machine for its keras_cnns, and whether it sees a file that was just written.

    A machine that leaves the cluster meanwhile needs neither.

    Args:
        place: The URI that the file is in.
        marker: The file's name.
        shared: Whether that is the sweeps' folder, and no storage.

    Raises:
        ClusterError: One has another version or none, or does not see it.
    """
    nodes = alive()
    look = ray.remote(num_cpus=0)(looker())
    pinned = [NodeAffinitySchedulingStrategy(node["NodeID"], soft=False) for node in nodes]
    answers = [look.options(scheduling_strategy=strategy).remote(place, marker) for strategy in pinned]
    for node, answer in zip(nodes, answers, strict=True):
        machine = f"machine {node['NodeManagerAddress']}"
        try:
            version, sees = ray.get(answer, timeout=SECONDS_TO_LOOK)
        except ray.exceptions.RayError as error:
            if node["NodeID"] not in {left["NodeID"] for left in alive()}:
                continue
            raise ClusterError(f"{machine} does not answer: {said(error)}.") from None
        if version != keras_cnns.__version__:
            has = f"has keras-cnns {version}" if version else "has no keras-cnns"
            raise ClusterError(f"{machine} {has}; install {keras_cnns.__version__} there, as here.")
        if not sees and shared:
            raise ClusterError(
                f"{machine} does not see {place}; give a --folder on a file system that all machines share, or a "
                f"--storage that they all reach, such as s3://bucket/folder."
            )
        if not sees:
            raise ClusterError(
                f"{machine} does not see what is written to {place}; give a --storage that all machines reach."
            )


def alive() -> list[dict[str, Any]]:
    """Return the machines that are in the cluster now, as Ray describes them."""
    return [node for node in ray.nodes() if node["Alive"]]


def looker() -> Any:
    """Return what looks at a machine; Ray sends it whole, so that it runs where keras_cnns is missing."""

    def look(place: str, marker: str) -> tuple[str, bool]:
        try:
            import keras_cnns  # noqa: PLC0415 - that machine's
            from tuning.running.storage import reach  # noqa: PLC0415
        except ImportError:
            return "", False
        try:
            filesystem, path = reach(place)
            return keras_cnns.__version__, bool(filesystem.get_file_info(f"{path}/{marker}").is_file)
        except (ValueError, OSError):
            return keras_cnns.__version__, False

    return look
