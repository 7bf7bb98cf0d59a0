"""Names of downloaded files. A service's rows say what a file was called by whoever uploaded it: anything."""

import re
import unicodedata

from fdetect_jax.files import on_one_line, printable

_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"|?*/\\]')
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)  # of Windows, with any suffix
_LONGEST, _LONGEST_SUFFIX = 150, 80  # bytes; file systems take 255


class Names:
    """Names for the files of one folder: each one part of a path, each given once, letters' case aside."""

    def __init__(self, *taken: str):
        self._taken = {name.casefold() for name in taken}

    def new(self, name: str, suffix: str) -> str:
        """The last part of ``name`` and the suffix, without what ends a line, is hidden or steers a file system; with
        " (2)", " (3)" … between them where that was given before."""
        stem = _cut(_clean(re.split(r"[/\\]", name)[-1]), _LONGEST).strip(". ")
        stem = f"_{stem}" if _DEVICES.match(stem) else stem or "file"
        suffix, number = _cut(_clean(suffix), _LONGEST_SUFFIX).rstrip(". "), 1
        found = stem + suffix
        while found.casefold() in self._taken:
            number += 1
            found = f"{stem} ({number}){suffix}"
        self._taken.add(found.casefold())
        return found


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("_", on_one_line(unicodedata.normalize("NFC", printable(text))))


def _cut(text: str, longest: int) -> str:
    return text.encode()[:longest].decode(errors="ignore")
