"""A server on this machine, and only for it, that answers with the predictions of a network."""

from __future__ import annotations

import errno
import os
import socket
import threading
from pathlib import Path

import uvicorn

from keras_cnns.display.progress import NO_PROGRESS, Progress
from keras_cnns.display.showing import show_progress
from keras_cnns.errors import ServingError
from keras_cnns.serving.app import NOTICE, NetworkService, make_app
from keras_cnns.serving.served_network import load_served_network
from keras_cnns.serving.uploads import Limits

LOOPBACK = "127.0.0.1"
PORT = 8080
MAX_HEADER_BYTES = 2**14
SHUTDOWN_SECONDS = 1


class Server:
    """A server that runs in a thread until it is closed.

    Args:
        service: What answers the requests.
        listener: The socket that it listens on.

    Attributes:
        address: The address of its page.
        title: The network that it serves.
    """

    def __init__(self, service: NetworkService, listener: socket.socket) -> None:
        self._service = service
        port = listener.getsockname()[1]
        self.address = f"http://{LOOPBACK}:{port}/"
        self.title = service.served.title
        config = uvicorn.Config(
            make_app(service, port), http="h11", ws="none", loop="asyncio", lifespan="off", interface="asgi3",
            log_config=None, log_level="critical", access_log=False, server_header=False, proxy_headers=False,
            h11_max_incomplete_event_size=MAX_HEADER_BYTES, timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._listener = listener
        self._ended = threading.Event()
        threading.Thread(target=self._run, name="server", daemon=True).start()

    def _run(self) -> None:
        try:
            self._server.run([self._listener])
        finally:
            self._listener.close()
            self._ended.set()

    def wait(self) -> None:
        """Wait until the server ends; Ctrl-C ends it and raises `KeyboardInterrupt`."""
        try:
            while not self._ended.wait(1):  # without a limit, Windows would not react to Ctrl-C
                pass
        finally:
            self.close()

    def close(self) -> None:
        """End the server; requests that are being answered have a second to finish."""
        self._server.should_exit = True
        self._ended.wait(2 * SHUTDOWN_SECONDS)
        self._service.close()

    def __str__(self) -> str:
        return f"Serving {self.title} at {self.address} (Ctrl-C stops it). {NOTICE}"


def serve(
    run: str | Path, *, port: int = PORT, tracking_uri: str | None = None, show_training_cases: bool = False
) -> None:
    """Serve the predictions of a network on a page and as JSON, to this machine only, until Ctrl-C.

    Args:
        run: A run (its id, the beginning of it, or a name that no other run has; the id of a sweep for its best trial),
            a registered model such as `models:/NAME@champion`, or a `.keras` file of an export.
        port: The port of http://127.0.0.1; 0 for one that is free.
        tracking_uri: The store of the runs; by default that of MLflow's environment variable, or `./mlflow.db`.
        show_training_cases: Whether the page shows the training images that are most similar to an image. They are
            read from where they were for the training.

    Raises:
        ServingError: The port is in use or not possible.
        DataError: A file or the training images cannot be read.
        StoreError: There is no such run or registered model, or it has no saved network.
        EvaluationError: The network cannot be loaded safely, it is a cross-validation, or the training images are not
            there.
    """
    with show_progress(progress=True) as progress:
        server = start_server(
            run, port=port, tracking_uri=tracking_uri, show_training_cases=show_training_cases, progress=progress
        )
    print(server, flush=True)
    server.wait()


def start_server(
    run: str | Path,
    *,
    port: int = PORT,
    tracking_uri: str | None = None,
    show_training_cases: bool = False,
    limits: Limits | None = None,
    progress: Progress = NO_PROGRESS,
) -> Server:
    """Start a server and return it once it listens; for the other arguments and errors see `serve`.

    Args:
        run: The network.
        port: The port.
        tracking_uri: The store.
        show_training_cases: Whether to show similar training images.
        limits: Limits of the requests.
        progress: Receives each step.
    """
    listener = bind(port)
    try:
        served = load_served_network(
            run, tracking_uri=tracking_uri, show_training_cases=show_training_cases, progress=progress
        )
        progress.message("compiling the network")
        return Server(NetworkService(served, limits or Limits()), listener)
    except BaseException:
        listener.close()
        raise


def bind(port: int) -> socket.socket:
    """Return a socket that listens on a port of this machine.

    Raises:
        ServingError: The port is in use or not possible; the message names a free one.
    """
    # asyncio sends small answers at once only on sockets that name their protocol.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":  # elsewhere another program could take the port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((LOOPBACK, port))
        listener.listen()
    except (OSError, OverflowError) as error:
        used = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        reason = "in use" if used else "not possible"
        listener.close()
    else:
        return listener
    with socket.create_server((LOOPBACK, 0)) as other:
        free = other.getsockname()[1]
    raise ServingError(f"port {port} is {reason}; use a free one, such as --port {free} (port={free}).")
