"""Uploads as they arrive: multipart/form-data to files on disk, with every limit checked while the bytes come in."""

import asyncio
import contextlib
import hashlib
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from fdetect_jax.errors import FULL
from fdetect_jax.files import on_one_line
from fdetect_jax.service.problems import Problem
from fdetect_jax.service.settings import Settings

_FIELDS, _FIELD_BYTES, _HEADER_BYTES, _NAME = 20, 4096, 4096, 200
_IDLE = 30.0  # seconds without a byte
_SLACK = 1 << 20  # bytes of a body beside its files


@dataclass
class Received:
    """A file. name: to be shown, without folders. path: where it lies."""

    name: str
    path: Path
    bytes: int = 0
    sha256: str = ""


@dataclass
class Upload:
    """What arrived."""

    fields: dict[str, str] = field(default_factory=dict)
    files: list[Received] = field(default_factory=list)


@contextlib.contextmanager
def folder_for(settings: Settings, name: str) -> Iterator[Path]:
    """An empty folder for an upload, removed with what is left in it."""
    folder = settings.data / "uploads" / name
    folder.mkdir(parents=True, mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def receive(request: Request, settings: Settings, folder: Path) -> Upload:
    """Reads the body of a request into ``folder``.

    Raises:
      Problem: 415, another media type; 413, too many bytes or files; 400, a body that is cut off, too slow or no
        multipart; 422, a field; 503, the disk is full.
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise Problem("unsupported_media", "The body must be multipart/form-data with a boundary.")
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > settings.job_bytes + _SLACK:
        raise _too_large(settings.job_bytes)
    reader = _Reader(settings, folder)
    try:
        parser = MultipartParser(options[b"boundary"], reader.callbacks(), max_size=settings.job_bytes + _SLACK)
        async with asyncio.timeout(settings.upload_seconds):
            await _feed(request, parser)
        parser.finalize()
        if not reader.ended:
            raise Problem("bad_request", "The body ends before its last boundary.")
    except MultipartParseError:
        raise Problem("bad_request", "The body is not multipart/form-data as RFC 7578 has it.") from None
    except TimeoutError:
        raise Problem("bad_request", "The upload came too slowly.") from None
    except ClientDisconnect:
        raise Problem("bad_request", "The connection was closed during the upload.") from None
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise Problem("too_busy", "The disk of the service is full.", retry_after=300) from None
    finally:
        reader.close()
    return reader.upload


async def _feed(request: Request, parser: MultipartParser) -> None:
    chunks = request.stream()
    while True:
        try:
            async with asyncio.timeout(_IDLE):
                chunk = await anext(chunks)
        except StopAsyncIteration:
            return
        if len(chunk) != parser.write(chunk):
            raise Problem("too_large", "The upload has more bytes than are taken.")


class _Reader:
    """Takes the parser's events."""

    def __init__(self, settings: Settings, folder: Path):
        self.upload, self.ended = Upload(), False
        self._settings, self._folder = settings, folder
        self._left = settings.job_bytes
        self._file: IO[bytes] | None = None
        self._hash = hashlib.sha256()
        self._name, self._value = "", bytearray()
        self._header, self._headers = [b"", b""], {}

    def callbacks(self) -> dict:
        """Of ``MultipartParser``."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._in_header(0, data[start:end]),
            "on_header_value": lambda data, start, end: self._in_header(1, data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._named,
            "on_part_data": lambda data, start, end: self._data(data[start:end]),
            "on_part_end": self._end,
            "on_end": self._finished,
        }

    def close(self) -> None:
        """Closes what a body that was cut off left open."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _finished(self) -> None:
        self.ended = True

    def _begin(self) -> None:
        self._headers, self._header, self._value = {}, [b"", b""], bytearray()

    def _in_header(self, which: int, data: bytes) -> None:
        self._header[which] += data
        if len(self._header[which]) > _HEADER_BYTES:
            raise Problem("bad_request", "A part of the body has a header that is too long.")

    def _end_header(self) -> None:
        if len(self._headers) >= _FIELDS:
            raise Problem("bad_request", "A part of the body has too many headers.")
        self._headers[self._header[0].lower()] = self._header[1]
        self._header = [b"", b""]

    def _named(self) -> None:
        kind, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        if kind != b"form-data" or not self._name:
            raise Problem("bad_request", "A part of the body has no name.")
        if b"filename" not in options:
            if len(self.upload.fields) >= _FIELDS:
                raise Problem("invalid", f"There are more than {_FIELDS} fields.")
            return
        if self._name != "files":
            raise Problem("invalid", "Files belong into the field files.", field=_shown(self._name))
        number = len(self.upload.files)
        if number >= self._settings.files:
            raise Problem("too_large", f"At most {self._settings.files} files are taken at once.", field="files")
        name = _shown(options[b"filename"].decode("utf-8", "replace"))
        self.upload.files.append(Received(name, self._folder / str(number)))
        self._file = open(self._folder / str(number), "xb")  # noqa: SIM115, closed by ``close``
        self._hash = hashlib.sha256()

    def _data(self, data: bytes) -> None:
        if self._file is None:
            self._value += data
            if len(self._value) > _FIELD_BYTES:
                raise Problem("invalid", f"A field has more than {_FIELD_BYTES} bytes.", field=_shown(self._name))
            return
        one = self.upload.files[-1]
        one.bytes += len(data)
        self._left -= len(data)
        if one.bytes > self._settings.file_bytes:
            raise _too_large(self._settings.file_bytes, f"files[{len(self.upload.files) - 1}]")
        if self._left < 0:
            raise _too_large(self._settings.job_bytes)
        self._file.write(data)
        self._hash.update(data)

    def _end(self) -> None:
        if self._file is None:
            self.upload.fields[self._name] = self._value.decode("utf-8", "replace")
            return
        self.close()
        self.upload.files[-1].sha256 = self._hash.hexdigest()


def _too_large(most: int, which: str | None = None) -> Problem:
    return Problem("too_large", f"At most {most:,} bytes are taken.", field=which)


def _shown(name: str) -> str:
    """The last part of a name, which may come from any system, as one line that can be shown."""
    last = re.split(r"[/\\]", name)[-1].strip()
    return on_one_line(last)[:_NAME] or "file"
