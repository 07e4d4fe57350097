"""Requests that a server must refuse, for the tests and for `benchmarks/serving.py`."""

from __future__ import annotations

import base64
import http.client
import io
import json
import struct
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

Body: TypeAlias = bytes | Callable[[int], Iterable[bytes]]
IMAGE = "application/octet-stream"
FORM = 'multipart/form-data; boundary="b"'


@dataclass(frozen=True)
class HostileUpload:
    """A request that must be refused.

    Attributes:
        name: What it is.
        status: The status code of the answer.
        body: Its body, or a function from the limit of bytes to chunks, which are sent without a length.
        content_type: The media type that it claims.
        method: The method.
        path: The path with parameters.
        headers: Further headers.
    """

    name: str
    status: int
    body: Body = b""
    content_type: str = IMAGE
    method: str = "POST"
    path: str = "/predict"
    headers: Mapping[str, str] = field(default_factory=dict)

    def send(self, port: int, max_bytes: int) -> tuple[int, str]:
        """Send the request to a server on this machine, and return the status code and the text of the answer."""
        headers = {"Content-Type": self.content_type, **self.headers}
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            connection.putrequest(self.method, self.path, skip_host="Host" in headers)
            for name, value in headers.items():
                connection.putheader(name, value)
            if isinstance(self.body, bytes):
                if "Content-Length" not in headers:
                    connection.putheader("Content-Length", str(len(self.body)))
                connection.endheaders(self.body)
            else:
                connection.putheader("Transfer-Encoding", "chunked")
                connection.endheaders()
                self._send_chunks(connection, self.body(max_bytes))
            reply = connection.getresponse()
            return reply.status, reply.read().decode()
        finally:
            connection.close()

    @staticmethod
    def _send_chunks(connection: http.client.HTTPConnection, chunks: Iterable[bytes]) -> None:
        """Send chunks until the server has closed the connection."""
        try:
            for chunk in chunks:
                connection.send(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            connection.send(b"0\r\n\r\n")
        except OSError:  # the answer is there already
            pass


def encode(pixels: np.ndarray, kind: str, **options: object) -> bytes:
    """Return an image as a file."""
    memory = io.BytesIO()
    Image.fromarray(pixels).save(memory, kind, **options)
    return memory.getvalue()


def png(width: int, height: int, data: bytes, *others: tuple[bytes, bytes]) -> bytes:
    """Return a greyscale PNG file that declares a size, with compressed data and other chunks before it."""
    header = (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    chunks = (header, *others, (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


def gif(frames: int) -> bytes:
    """Return a GIF file with frames of one pixel."""
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    return b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + b"\x00\x00\x00\xff\xff\xff" + frames * frame + b";"


def dicom(**values: object) -> bytes:
    """Return a DICOM file of 16 × 16 pixels, with other values in its header."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    dataset.Rows = dataset.Columns = 16
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PixelRepresentation = 1, "MONOCHROME2", 0
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.PixelData = bytes(256)
    for name, value in values.items():
        setattr(dataset, name, value)
    memory = io.BytesIO()
    dataset.save_as(memory, enforce_file_format=True)
    return memory.getvalue()


def tiff_with_huge_tag() -> bytes:
    """Return a TIFF file with a tag of four billion values."""
    tags = [(256, 4, 1, 16), (257, 4, 1, 16), (258, 3, 1, 8), (262, 3, 1, 1), (273, 4, 0xFFFFFFFF, 8),
            (279, 4, 1, 256)]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\x00\x08\x00\x00\x00" + struct.pack("<H", len(tags)) + entries + bytes(4)


def form(*parts: bytes, end: bytes = b"--b--\r\n") -> bytes:
    """Return a form of parts, each with its headers."""
    return b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + end


def part(name: str, content: bytes) -> bytes:
    """Return a part of a form with a file."""
    return f'Content-Disposition: form-data; name="f"; filename="{name}"\r\n\r\n'.encode() + content


def too_many(max_bytes: int) -> Iterator[bytes]:
    """Yield a few more bytes than are accepted."""
    for _ in range(max_bytes // 2**16 + 1):
        yield bytes(2**16)


def without_end(_: int) -> Iterator[bytes]:
    """Yield chunks for ever."""
    while True:
        yield bytes(2**16)


def slowly(_: int) -> Iterator[bytes]:
    """Yield a byte at a time, for a minute."""
    for _ in range(600):
        yield b"x"
        time.sleep(0.1)


NOISE = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)
PNG, JPEG, DICOM = encode(NOISE, "PNG"), encode(NOISE, "JPEG"), dicom()
WEBP, BMP = encode(NOISE, "WEBP"), encode(NOISE, "BMP")
FLOATS = NOISE.astype(np.float32) / 255
BOMB = zlib.compress(bytes(10**8), 9)
SCRIPT = b"<script>alert(1)</script>"
JSON = "application/json"
UPLOADS = (
    HostileUpload("empty body", 400),
    HostileUpload("truncated PNG", 422, PNG[: len(PNG) // 2]),
    HostileUpload("truncated JPEG", 422, JPEG[:300]),
    HostileUpload("truncated DICOM", 422, DICOM[:-200]),
    HostileUpload("truncated WebP", 422, WEBP[: len(WEBP) // 2]),
    HostileUpload("PNG with a wrong checksum", 422, PNG[:29] + bytes(4) + PNG[33:]),
    HostileUpload("PNG of 60000 x 60000 pixels", 422, png(60000, 60000, zlib.compress(bytes(100)))),
    HostileUpload("PNG of slightly too many pixels", 422, png(8192, 8193, zlib.compress(bytes(100)))),
    HostileUpload("PNG with a zlib bomb in a text", 422, png(16, 16, b"", (b"zTXt", b"a\0\0" + BOMB))),
    HostileUpload("PNG with a zlib bomb as colour profile", 422, png(16, 16, b"", (b"iCCP", b"a\0\0" + BOMB))),
    HostileUpload("JPEG of 65500 x 65500 pixels", 422, JPEG.replace(b"\x00\x40\x00\x40", b"\xff\xdc\xff\xdc", 1)),
    HostileUpload("BMP of two billion columns", 422, BMP[:18] + struct.pack("<ii", 2**31 - 1, 64) + BMP[26:]),
    HostileUpload("TIFF with a tag of four billion values", 422, tiff_with_huge_tag()),
    HostileUpload("TIFF of floats of an unknown range", 422, encode(7000 * FLOATS - 3, "TIFF")),
    HostileUpload("TIFF with NaN", 422, encode(np.where(NOISE > 100, np.nan, FLOATS), "TIFF")),
    HostileUpload("GIF with 20,000 frames", 422, gif(20_000)),
    HostileUpload("DICOM of 65535 x 65535 pixels", 422, dicom(Rows=65535, Columns=65535)),
    HostileUpload("DICOM with a billion frames", 422, dicom(NumberOfFrames=10**9)),
    HostileUpload("DICOM without pixels", 422, dicom(PixelData=b"")),
    HostileUpload("SVG as PNG", 422, b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>', "image/png"),
    HostileUpload("HTML as PNG", 422, b"<!doctype html>" + SCRIPT, "image/png"),
    HostileUpload("PostScript as PNG", 422, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nquit\n"),
    HostileUpload("pickle", 422, b"\x80\x04\x95\x1a\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94."),
    HostileUpload("zip archive", 422, b"PK\x03\x04" + bytes(100)),
    HostileUpload("path instead of content", 422, b"/etc/passwd"),
    HostileUpload("random bytes", 422, np.random.default_rng(1).bytes(5000)),
    HostileUpload("too large", 413, headers={"Content-Length": str(10**8)}),
    HostileUpload("too large without a length", 413, too_many),
    HostileUpload("without an end", 413, without_end),
    HostileUpload("slow", 408, slowly),
    HostileUpload("HTML", 415, SCRIPT, "text/html"),
    HostileUpload("form without files", 415, b"a=1", "application/x-www-form-urlencoded"),
    HostileUpload("media type with markup", 415, PNG, "<img src=x onerror=alert(1)>"),
    HostileUpload("compressed body", 415, PNG, headers={"Content-Encoding": "gzip"}),
    HostileUpload("JSON of a million lists", 400, b"[" * 10**6, JSON),
    HostileUpload("JSON of a huge number", 400, b"1" * 10**5, JSON),
    HostileUpload("JSON list", 400, b"[1, 2]", JSON),
    HostileUpload("JSON with a path", 400, b'{"path": "/etc/passwd"}', JSON),
    HostileUpload("JSON with a number as image", 400, b'{"image": NaN}', JSON),
    HostileUpload("JSON with text that is not base64", 400, b'{"image": "!!!"}', JSON),
    HostileUpload("JSON with an empty image", 400, b'{"image": ""}', JSON),
    HostileUpload("JSON with a script as image", 422, json.dumps({"image": base64.b64encode(SCRIPT).decode()}).encode(),
                  JSON),
    HostileUpload("broken UTF-8", 400, b'{"image": "\xff\xfe"}', JSON),
    HostileUpload("form without a boundary", 400, form(part("a.png", PNG)), "multipart/form-data"),
    HostileUpload("form without an end", 400, form(part("a.png", PNG), end=b""), FORM),
    HostileUpload("form with two files", 400, form(part("a.png", PNG), part("b.png", PNG)), FORM),
    HostileUpload("form of a million parts", 400, form(*[b"\r\n"] * 10**5), FORM),
    HostileUpload("form with a path as name", 422, form(part("../../../etc/passwd", b"x")), FORM),
    HostileUpload("form with markup as name", 422, form(part("<img src=x onerror=alert(1)>.png", SCRIPT)), FORM),
    HostileUpload("unknown parameter", 400, PNG, path="/predict?file=/etc/passwd"),
    HostileUpload("confidence level that is not a number", 400, PNG, path="/predict?confidence_level=nan"),
    HostileUpload("confidence level without a rule", 422, PNG, path="/predict?confidence_level=0.123"),
    HostileUpload("PUT", 405, PNG, method="PUT"),
    HostileUpload("GET of a prediction", 405, method="GET"),
    HostileUpload("POST to the page", 405, PNG, path="/"),
    HostileUpload("path outside the page", 404, method="GET", path="/../../../../etc/passwd"),
    HostileUpload("encoded path outside the page", 404, method="GET", path="/%2e%2e/%2e%2e/etc/passwd"),
    HostileUpload("another host", 403, PNG, headers={"Host": "attacker.example"}),
    HostileUpload("another host for the page", 403, method="GET", path="/", headers={"Host": "attacker.example:8080"}),
    HostileUpload("another origin", 403, PNG, headers={"Origin": "https://attacker.example"}),
    HostileUpload("no origin", 403, PNG, headers={"Origin": "null"}),
    HostileUpload("another site", 403, PNG, headers={"Sec-Fetch-Site": "cross-site"}),
)  # fmt: skip
