"""The machines that trials run on, this one or a Ray cluster, and the resources of each trial."""

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
from keras_cnns.networks.settings import FloatRange, IntRange, NoneOr, check_argument
from keras_cnns.units import format_number
from tuning.running.storage import CheckpointStorage, brief, open_filesystem
from tuning.running.workarounds import ENVIRONMENT, shut_down

CORES = IntRange(1, 4096)
GPUS = NoneOr(FloatRange(0.0, 1024.0))
MEMORY = NoneOr(IntRange(1, 2**63 - 1))
CLIENT_PREFIX = "ray://"
CONNECT_SECONDS = 10.0
CHECK_SECONDS = 120.0
RAY_NAMES = {"cores": "CPU", "gpus": "GPU", "memory": "memory"}


@dataclass(frozen=True, kw_only=True)
class ClusterConfig:
    """The machines that a sweep runs on, and the resources of each trial.

    The attributes are the arguments of `tuning.sweep`.

    Raises:
        SettingError: A number is not valid.
        ClusterError: The values contradict each other.
    """

    ray_address: str | None = None
    cores: int | None = None
    cores_per_trial: int = 1
    gpus_per_trial: float | None = None
    memory_per_trial: int | None = None
    storage: str | None = None

    def __post_init__(self) -> None:
        """Check everything that can be checked without Ray."""
        check_argument("cores", NoneOr(CORES), self.cores)
        check_argument("cores_per_trial", CORES, self.cores_per_trial)
        check_argument("memory_per_trial", MEMORY, self.memory_per_trial)
        gpus = check_argument("gpus_per_trial", GPUS, self.gpus_per_trial) or 0.0
        if gpus > 1 and gpus % 1:
            raise ClusterError(f"gpus_per_trial {gpus:g}: use a whole number of GPUs, or a fraction below 1.")
        if self.cores is not None or self.ray_address is None:
            cores = self.local_cores
            if self.cores_per_trial > cores:
                raise ClusterError(
                    f"cores_per_trial {self.cores_per_trial}: all trials together have {cores}; request that or less."
                )
        if (self.ray_address or "").startswith(CLIENT_PREFIX):
            raise ClusterError(
                f"ray_address {self.ray_address}: with Ray's client, Tune would run on the head of the cluster, which "
                f"does not have the sweep's folder; run the sweep on a machine of the cluster, with ray_address='auto'."
            )

    @property
    def local_cores(self) -> int:
        """Number of cores if Ray is started on this machine."""
        return self.cores or os.cpu_count() or 1

    @property
    def max_concurrent_trials(self) -> int | None:
        """Maximum number of trials at a time on a cluster; None for as many as fit."""
        if self.cores is None or self.ray_address is None:
            return None
        return self.cores // self.cores_per_trial

    def checkpoint_storage(self, folder: Path) -> CheckpointStorage | None:
        """Return the storage for the checkpoints of the sweep in a folder; None if they stay in the folder."""
        return CheckpointStorage(self.storage, folder.name) if self.storage else None

    def trial_resources(self) -> dict[str, float]:
        """Return the resources that Ray reserves for each trial, by Ray's names; Ray must be connected."""
        gpus = self.gpus_per_trial
        if gpus is None:
            gpus = 1.0 if ray.cluster_resources().get("GPU") else 0.0
        resources = {"CPU": float(self.cores_per_trial), "GPU": gpus, "memory": float(self.memory_per_trial or 0)}
        return {name: amount for name, amount in resources.items() if amount}

    def count_trial_slots(self) -> int:
        """Return how many trials can run at a time; Ray must be connected.

        Raises:
            ClusterError: Not even one fits on a machine.
        """
        resources, machines = self.trial_resources(), [node["Resources"] for node in alive_nodes()]
        slots = sum(trials_on(machine, resources) for machine in machines)
        if not slots:
            raise ClusterError(describe_shortage(resources, machines))
        return min(slots, self.max_concurrent_trials or slots)


def trials_on(machine: Mapping[str, float], resources: Mapping[str, float]) -> int:
    """Return how many trials fit on a machine, given the resources of both by Ray's names."""
    return int(min(machine.get(name, 0.0) / amount + 1e-9 for name, amount in resources.items()))


def describe_shortage(resources: Mapping[str, float], machines: Sequence[Mapping[str, float]]) -> str:
    """Return which resource of a trial no machine has, as an error message."""
    for argument, name in RAY_NAMES.items():
        most = max((machine.get(name, 0.0) for machine in machines), default=0.0)
        if resources.get(name, 0.0) > most:
            has = f"more than {format_amount(most)}; request that or less" if most else "any; leave the option out"
            return f"{argument}_per_trial {format_amount(resources[name])}: no machine has {has}."
    together = ", ".join(f"{format_amount(resources[name])} {name}" for name in RAY_NAMES.values() if name in resources)
    return f"each trial needs {together}, and no machine has all of that; request less."


def format_amount(amount: float) -> str:
    """Format a number of cores, GPUs or bytes."""
    return format_number(amount) if amount >= 10_000 else f"{amount:g}"


@contextlib.contextmanager
def connect(cluster: ClusterConfig) -> Iterator[None]:
    """Connect to a cluster, or start Ray on this machine until the context ends; an existing connection is kept.

    Raises:
        ClusterError: The cluster cannot be reached.
    """
    if ray.is_initialized():
        yield
        return
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
    address = cluster.ray_address
    if address is None:
        ray.init(address="local", num_cpus=cluster.local_cores, include_dashboard=False, **quiet)
    else:
        check_listening(address)
        try:
            ray.init(address=address, **quiet)
        except ConnectionError:
            raise ClusterError(
                f"ray_address {address}: this machine cannot join the cluster; run `ray start --address=HEAD:6379` on "
                f"it, and set RAY_AUTH_MODE=token if the cluster requires a token."
            ) from None
        except (RuntimeError, ValueError) as error:
            raise ClusterError(f"ray_address {address}: {brief(error)}.") from None
    try:
        yield
    finally:
        shut_down()


def check_listening(address: str) -> None:
    """Raise a `ClusterError` if nothing listens at an address; Ray would first wait for a minute."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ClusterError(
            f"ray_address {address!r}: write auto, or HOST:PORT of the cluster's head, such as head:6379."
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(
            f"ray_address {address}: no answer ({brief(error)}); `ray start --head` and `ray status` on the head print "
            f"its address."
        ) from None


def check_cluster(cluster: ClusterConfig, folder: Path) -> None:
    """Check the resources of a trial, and on a cluster the requirements of each machine, before anything starts.

    Args:
        cluster: Machines and resources.
        folder: Folder of all sweeps.

    Raises:
        ClusterError: A requirement is not met.
        StoreError: The storage is not writable.
    """
    distributed = cluster.ray_address is not None or cluster.storage is not None
    if distributed or cluster.gpus_per_trial or cluster.memory_per_trial:
        with connect(cluster):
            cluster.count_trial_slots()
            if distributed:
                uri = cluster.storage or str(folder.resolve())
                with marker_file(uri) as marker:
                    check_nodes(uri, marker, shared=cluster.storage is None)


@contextlib.contextmanager
def marker_file(uri: str) -> Iterator[str]:
    """Write an empty file to a storage, yield its name, and remove it.

    Raises:
        StoreError: The storage is not writable.
    """
    filesystem, path = open_filesystem(uri)
    name = f".keras-cnns-{uuid.uuid4().hex}"
    try:
        filesystem.create_dir(path)
        with filesystem.open_output_stream(f"{path}/{name}"):
            pass
    except OSError as error:
        raise StoreError(f"{uri} is not writable: {brief(error)}.") from None
    try:
        yield name
    finally:
        with contextlib.suppress(OSError):
            filesystem.delete_file(f"{path}/{name}")


def check_nodes(uri: str, marker: str, *, shared: bool) -> None:
    """Check that every machine has the same version of keras-cnns and can read a file that was just written.

    Machines that leave the cluster during the check are ignored.

    Args:
        uri: The storage, or the folder of all sweeps.
        marker: Name of the file.
        shared: Whether `uri` is the folder of all sweeps.

    Raises:
        ClusterError: A machine does not meet a requirement.
    """
    nodes = alive_nodes()
    probe = ray.remote(num_cpus=0)(make_probe())
    strategies = [NodeAffinitySchedulingStrategy(node["NodeID"], soft=False) for node in nodes]
    answers = [probe.options(scheduling_strategy=strategy).remote(uri, marker) for strategy in strategies]
    for node, answer in zip(nodes, answers, strict=True):
        machine = f"machine {node['NodeManagerAddress']}"
        try:
            version, readable = ray.get(answer, timeout=CHECK_SECONDS)
        except ray.exceptions.RayError as error:
            if node["NodeID"] not in {left["NodeID"] for left in alive_nodes()}:
                continue
            raise ClusterError(f"{machine} does not answer: {brief(error)}.") from None
        if version != keras_cnns.__version__:
            installed = f"has keras-cnns {version}" if version else "does not have keras-cnns"
            raise ClusterError(f"{machine} {installed}; install version {keras_cnns.__version__} there, as here.")
        if not readable:
            alternative = "use a --folder on a file system that all machines share, or " if shared else "use "
            raise ClusterError(
                f"{machine} cannot read files that this machine writes to {uri}; {alternative}a --storage that all "
                f"machines reach, such as s3://bucket/folder."
            )


def alive_nodes() -> list[dict[str, Any]]:
    """Return the machines that are in the cluster now, as Ray describes them."""
    return [node for node in ray.nodes() if node["Alive"]]


def make_probe() -> Any:
    """Return a function that examines a machine; Ray pickles it by value, so it works without keras_cnns."""

    def probe(uri: str, marker: str) -> tuple[str, bool]:
        try:
            import keras_cnns  # noqa: PLC0415 - the version of that machine
            from tuning.running.storage import open_filesystem  # noqa: PLC0415
        except ImportError:
            return "", False
        try:
            filesystem, path = open_filesystem(uri)
            return keras_cnns.__version__, bool(filesystem.get_file_info(f"{path}/{marker}").is_file)
        except (ValueError, OSError):
            return keras_cnns.__version__, False

    return probe
