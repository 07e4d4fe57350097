"""Uploaded files: limits, and the forms in which a request may contain an image."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.message import Message
from email.parser import HeaderParser
from typing import Any

from starlette.requests import Request

from keras_cnns.errors import DataError
from keras_cnns.serving.pyfunc import decode_text
from keras_cnns.tracking.mlflow_model import INPUT

MAX_NAME_LENGTH = 200
MAX_PARTS = 8
DRAIN_SECONDS = 1.0
"""How long more of a refused upload is read, so that a client that reads no answer before its end gets one."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of a server.

    Attributes:
        bytes: The size of the body of a request.
        seconds: The time in which the body must arrive.
        requests: The number of requests that are received, wait or are answered.
        images: The number of images, such as the frames of a file, in a request.
    """

    bytes: int = 64 * 2**20
    seconds: float = 30.0
    requests: int = 16
    images: int = 64


class RequestError(Exception):
    """A request that is refused.

    Args:
        status: The status code of the answer.
        message: What is wrong, and what would work.
        headers: Further headers of the answer.
    """

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})


@dataclass(frozen=True)
class Upload:
    """An uploaded file.

    Attributes:
        content: The bytes of the file.
        name: Its name as the client calls it; it is shown and never opened.
    """

    content: bytes
    name: str = ""


async def read_body(request: Request, limits: Limits) -> bytes:
    """Return the body of a request.

    Raises:
        RequestError: It is empty, too large, too slow, or compressed.
    """
    if request.headers.get("content-encoding", "identity") != "identity":
        raise RequestError(415, "compressed requests are not read; send the file as it is.")
    message = f"the request has more than {limits.bytes:,} bytes; send a smaller file."
    declared = request.headers.get("content-length", "0")
    if not declared.isdecimal() or int(declared) > limits.bytes:
        raise RequestError(413, message)
    try:
        async with asyncio.timeout(limits.seconds):
            body = await collect(request, limits.bytes)
    except TimeoutError:
        late = f"the request did not arrive within {limits.seconds:g} seconds; send a smaller file."
        raise RequestError(408, late, {"connection": "close"}) from None
    if body is None:
        await drain(request)
        raise RequestError(413, message, {"connection": "close"})
    if not body:
        raise RequestError(400, "the request is empty; send an image file as its body.")
    return body


async def collect(request: Request, max_bytes: int) -> bytes | None:
    """Return the body of a request; None as soon as it has too many bytes."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        chunks.append(chunk)
        size += len(chunk)
        if size > max_bytes:
            return None
    return b"".join(chunks)


async def drain(request: Request) -> None:
    """Read and forget the rest of a request, for a limited time."""
    try:
        async with asyncio.timeout(DRAIN_SECONDS):
            while (await request.receive()).get("more_body"):
                pass
    except TimeoutError:
        pass


def parse_file(body: bytes, _: Message) -> Upload:
    """Return the file that a body is."""
    return Upload(body)


def parse_json(body: bytes, _: Message) -> Upload:
    """Return the file of a JSON object with `image`, the file as base64 text, and optionally `file`, its name.

    Raises:
        RequestError: The body is not such an object.
    """
    expected = f'send an object such as {{"{INPUT}": "BASE64", "file": "NAME"}}'
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise RequestError(400, f"the request is not JSON; {expected}.") from None
    if not isinstance(found, dict) or not {INPUT} <= set(found) <= {INPUT, "file"}:
        raise RequestError(400, f"the request does not have the fields of an image; {expected}.")
    text, name = found[INPUT], found.get("file", "")
    if not isinstance(text, str) or not isinstance(name, str):
        raise RequestError(400, f"the fields are not text; {expected}.")
    try:
        return Upload(decode_text(text), name)
    except DataError as error:
        raise RequestError(400, str(error)) from None


def parse_form(body: bytes, header: Message) -> Upload:
    """Return the only file of a form.

    Args:
        body: The body, `multipart/form-data`.
        header: The `Content-Type` of the request, with the boundary.

    Raises:
        RequestError: The body is not a form, or does not have one file.
    """
    boundary = header.get_param("boundary")
    if not isinstance(boundary, str) or not 1 <= len(boundary) <= 70 or not boundary.isascii():
        raise RequestError(400, "the form has no valid boundary; let the client write the header Content-Type.")
    parts = (b"\r\n" + body).split(b"\r\n--" + boundary.encode(), MAX_PARTS + 2)[1:]
    if len(parts) > MAX_PARTS or not parts or not parts[-1].startswith(b"--"):
        raise RequestError(400, f"the form is not complete or has more than {MAX_PARTS} parts; send one file.")
    files = []
    for part in parts[:-1]:
        head, separator, content = part.partition(b"\r\n\r\n")
        name = HeaderParser().parsestr(head.decode("utf-8", "replace").lstrip()).get_filename() if separator else None
        if name is not None:
            files.append(Upload(content, name))
    if len(files) != 1:
        raise RequestError(400, f"the form has {len(files)} files; send one for each request.")
    return files[0]


PARSERS: Mapping[str, Callable[[bytes, Message], Upload]] = {
    "application/octet-stream": parse_file,
    "application/dicom": parse_file,
    "application/json": parse_json,
    "multipart/form-data": parse_form,
}
"""How the body is read for each media type; images of any type are read as files."""


def find_parser(content_type: str) -> tuple[Callable[[bytes, Message], Upload], Message]:
    """Return the function that reads the body of a request, and the header with its media type.

    Raises:
        RequestError: The media type is not read.
    """
    header = Message()
    header["content-type"] = content_type or "application/octet-stream"
    media_type = header.get_content_type()
    parser = parse_file if header.get_content_maintype() == "image" else PARSERS.get(media_type)
    if parser is None:
        known = ", ".join(("image/png or another type of images", *PARSERS))
        raise RequestError(415, f"{clean_name(media_type)} is not read; use {known}.")
    return parser, header


def clean_name(name: str) -> str:
    """Return a name that a client sent as one short line of text."""
    text = "".join(letter if letter.isprintable() else " " for letter in name)
    return text if len(text) <= MAX_NAME_LENGTH else f"{text[:MAX_NAME_LENGTH]}…"


def read_parameters(query: Mapping[str, str]) -> tuple[float | None, bool]:
    """Return the confidence level and whether to explain, from the parameters of a request.

    Raises:
        RequestError: A parameter is unknown or not valid.
    """
    values: dict[str, Any] = {"confidence_level": "", "explain": "false", **query}
    unknown = [clean_name(name) for name in values if name not in {"confidence_level", "explain"}]
    if unknown:
        raise RequestError(400, f"unknown parameter {unknown[0]!r}; use confidence_level or explain.")
    if values["explain"] not in {"true", "false"}:
        raise RequestError(400, "explain is true or false.")
    try:
        level = float(values["confidence_level"]) if values["confidence_level"] else None
    except ValueError:
        level = math.nan
    if level is not None and not 0 < level < 1:
        raise RequestError(400, "confidence_level is a number between 0 and 1, such as 0.9.")
    return level, values["explain"] == "true"
