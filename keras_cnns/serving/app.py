"""The web application of a served network: a page, and the same answers as JSON.

GET /          the page; `page.css` and `page.js` belong to it
GET /health    whether the server answers
POST /predict  the prediction for an image file

It answers only requests that name this machine as their host, and POST requests only from its own page or from programs
that are not browsers: another site that is open in the same browser can neither upload images nor read answers.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from email.message import Message
from functools import partial
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from keras_cnns.errors import KerasCnnsError
from keras_cnns.evaluation.input_images import read_encoded
from keras_cnns.evaluation.prediction import ReadImages, make_predictions
from keras_cnns.serving.batching import NetworkThread
from keras_cnns.serving.served_network import ServedNetwork
from keras_cnns.serving.uploads import (
    Limits,
    RequestError,
    Upload,
    clean_name,
    find_parser,
    read_body,
    read_parameters,
)
from keras_cnns.version import __version__
from keras_cnns.writing.html import to_html

LOGGER = logging.getLogger(__name__)
HOSTS = ("127.0.0.1", "localhost")
SAFE_METHODS = ("GET", "HEAD")
DECODERS = 2
NOTICE = "For research use only; not a medical device."
ASSETS = {"page.css": "text/css", "page.js": "text/javascript"}
SECURITY_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
}
Handler = Callable[[Request], Awaitable[Response]]


class NetworkService:
    """Answers requests for a network.

    Args:
        served: The network.
        limits: Limits of the requests.
    """

    def __init__(self, served: ServedNetwork, limits: Limits) -> None:
        self.served = served
        self.limits = limits
        self.thread = NetworkThread(served.classifier.network)
        self._decoders = ThreadPoolExecutor(DECODERS, "decoder")
        self._requests = 0
        self._page = render_page(served, limits)

    def close(self) -> None:
        """End the threads after the requests that wait for them."""
        self._decoders.shutdown(cancel_futures=True)
        self.thread.close()

    async def show_page(self, _: Request) -> Response:
        """Answer with the page."""
        return Response(self._page, media_type="text/html")

    async def check_health(self, _: Request) -> Response:
        """Answer with the run and the number of requests that wait."""
        return to_response({"status": "ok", "run_id": self.served.classifier.run_id, "requests": self._requests})

    async def predict(self, request: Request) -> Response:
        """Answer with the prediction for an image file."""
        if self._requests >= self.limits.requests:
            message = f"{self._requests} requests are waiting; try again in a second."
            raise RequestError(503, message, {"retry-after": "1"})
        self._requests += 1
        try:
            return await self._answer(request)
        finally:
            self._requests -= 1

    async def _answer(self, request: Request) -> Response:
        parser, header = find_parser(request.headers.get("content-type", ""))
        level, explain = read_parameters(request.query_params)
        classifier = self.served.classifier
        rule = None if level is None else classifier.find_rule(level)
        body = await read_body(request, self.limits)
        loop = asyncio.get_running_loop()
        name, read = await loop.run_in_executor(self._decoders, self._read, parser, body, header)
        del body  # it is large, and is not kept while the request waits
        outputs = await asyncio.wrap_future(self.thread.predict(read.pixels))
        point = classifier.network.operating_point
        predictions = make_predictions(classifier.ensemble, read, outputs, point, rule)
        answers = predictions.to_dicts()
        if explain:
            computed = self.thread.compute(partial(self.served.explain, read, predictions))
            explanations = await asyncio.wrap_future(computed)
            for answer, explanation in zip(answers, explanations, strict=True):
                answer["explanation"] = explanation
        if name:
            for answer in answers:
                answer["file"] = name + "".join(answer["file"].partition("#")[1:])
        return to_response({
            "run_id": classifier.run_id, "notice": NOTICE, "predictions": answers, "notes": read.notes,
        })  # fmt: skip

    def _read(self, parser: Callable[[bytes, Message], Upload], body: bytes, header: Message) -> tuple[str, ReadImages]:
        """Return the name of the file of a request, and its images."""
        upload = parser(body, header)
        if not upload.content:
            raise RequestError(400, "the file is empty; send an image file.")
        read = read_encoded([upload.content], self.served.classifier.network)
        if len(read.pixels) > self.limits.images:
            message = f"the file has {len(read.pixels):,} frames; send at most {self.limits.images}."
            raise RequestError(422, message)
        return clean_name(upload.name), read


class LocalRequestsOnly:
    """Middleware that refuses requests of other sites, and adds headers that protect the page.

    Args:
        app: The application.
        port: The port of the server, which a request must name in its header Host.
    """

    def __init__(self, app: ASGIApp, port: int) -> None:
        self._app = app
        self._hosts = {f"{host}:{port}" for host in HOSTS} | (set(HOSTS) if port == 80 else set())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        if reason := self._find_reason(request):
            response = to_response({"error": reason}, status=403)
            response.headers.update(SECURITY_HEADERS)
            await response(scope, receive, send)
            return

        async def send_protected(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = ((name.encode(), value.encode()) for name, value in SECURITY_HEADERS.items())
                message["headers"] = [*message["headers"], *headers]
            await send(message)

        await self._app(scope, receive, send_protected)

    def _find_reason(self, request: Request) -> str:
        """Return why a request is refused, or ""."""
        if [host.lower() for host in request.headers.getlist("host")] not in [[host] for host in self._hosts]:
            return f"the header Host is not that of this server; open http://{min(self._hosts)}/."
        if request.method in SAFE_METHODS:
            return ""
        origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site", "none")
        if origin not in {None, *(f"http://{host}" for host in self._hosts)} or site not in {"none", "same-origin"}:
            return "the request comes from another site; use the page of this server, or a program."
        return ""


def make_app(service: NetworkService, port: int) -> ASGIApp:
    """Return the application.

    Args:
        service: What answers.
        port: The port of the server.
    """
    routes = [
        Route("/", service.show_page),
        Route("/health", service.check_health),
        Route("/predict", service.predict, methods=["POST"]),
        *(Route(f"/{name}", show_asset(name, kind)) for name, kind in ASSETS.items()),
    ]
    handlers: Mapping[Any, Any] = {
        RequestError: answer_error, KerasCnnsError: answer_error, HTTPException: answer_error,
        ClientDisconnect: answer_error, Exception: answer_error,
    }  # fmt: skip
    return LocalRequestsOnly(Starlette(routes=routes, exception_handlers=handlers), port)


def show_asset(name: str, kind: str) -> Handler:
    """Return the handler of a file of the page."""
    content = files("keras_cnns.serving.page").joinpath(name).read_bytes()

    async def show(_: Request) -> Response:
        return Response(content, media_type=kind)

    return show


async def answer_error(_: Request, error: Exception) -> Response:
    """Answer with an error as one line of JSON."""
    match error:
        case RequestError():
            return to_response({"error": str(error)}, status=error.status, headers=error.headers)
        case KerasCnnsError():
            return to_response({"error": " ".join(str(error).split())}, status=422)
        case HTTPException():
            message = f"{error.detail}; use GET /, GET /health or POST /predict."
            return to_response({"error": message}, status=error.status_code, headers=error.headers)
        case ClientDisconnect():
            return to_response({"error": "the request is not complete."}, status=400)
    LOGGER.error("a request failed: %r", error)
    return to_response({"error": "the server failed; its output has the reason."}, status=500)


def to_response(content: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return an answer as one line of JSON."""
    text = json.dumps(content, allow_nan=False)
    return Response(f"{text}\n", status, headers, media_type="application/json")


def render_page(served: ServedNetwork, limits: Limits) -> str:
    """Return the HTML of the page, in which every text is escaped."""
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    template = files("keras_cnns.serving.page").joinpath("page.html").read_text(encoding="utf-8")
    return environment.from_string(template).render(
        title=served.title,
        data_name=served.classifier.network.run.data_name,
        run_id=served.classifier.run_id,
        confidence_level=served.confidence_level,
        multi_label=served.classifier.network.multi_label,
        class_names=served.classifier.class_names,
        max_bytes=limits.bytes,
        limits=served.limits,
        card=None if served.card is None else to_html(served.card, level=3),
        notice=NOTICE,
        version=__version__,
    )
