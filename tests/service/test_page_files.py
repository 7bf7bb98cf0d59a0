"""The files of the page, without a browser: both languages say the same, nothing leaves the page, nothing is inline."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import fdetect_jax

PAGE = Path(fdetect_jax.__file__).parent / "service/page"
FILES = sorted(PAGE.iterdir())
SCRIPTS = {path.name: path.read_text() for path in FILES if path.suffix == ".js"}
WORDS = ("en.js", "ja.js")
CODE = {name: text for name, text in SCRIPTS.items() if name not in WORDS}
HTML = (PAGE / "index.html").read_text()
NAMESPACE = "http://www.w3.org/2000/svg"  # a name, not an address that anything is fetched from
CODES = (  # of the problem documents of the API
    "bad_request",
    "key_wanted",
    "key_unknown",
    "forbidden",
    "not_found",
    "conflict",
    "not_ready",
    "too_large",
    "unsupported_media",
    "invalid",
    "rate_limited",
    "quota_used",
    "too_busy",
)
VERDICTS = ("real", "suspicious", "fake", "not_applicable", "unable_to_evaluate")
STATES = ("queued", "running", "done", "failed", "cancelled", "expired")


def words(name: str) -> dict[str, str]:
    """The phrases of a language; the file is JSON but for its first and last words."""
    text = SCRIPTS[name].strip()
    return json.loads(text.removeprefix("export default").removesuffix(";"))


class _Elements(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def elements() -> list[tuple[str, dict[str, str | None]]]:
    parser = _Elements()
    parser.feed(HTML)
    return parser.found


def test_both_languages_have_the_same_phrases():
    english, japanese = (words(name) for name in WORDS)
    assert english.keys() == japanese.keys()
    for key, phrase in english.items():
        assert sorted(re.findall(r"\{\w+\}", phrase)) == sorted(re.findall(r"\{\w+\}", japanese[key])), key
        assert phrase.strip(), key
        assert japanese[key].strip(), key


def test_no_phrase_stands_twice_in_a_file():
    for name in WORDS:
        keys = re.findall(r'^  "([^"]+)":', SCRIPTS[name], re.MULTILINE)
        assert len(keys) == len(set(keys)) == len(words(name)), name


def test_every_phrase_that_is_used_exists():
    english = words("en.js")
    spaces = {key.split(".")[0] for key in english if "." in key}
    used = set(re.findall(r'data-t(?:-label)?="([^"]+)"', HTML))
    for text in CODE.values():
        used |= {word for word in re.findall(r'"([a-z]+(?:\.\w+)+)"', text) if word.split(".")[0] in spaces}
    assert not used - english.keys() - {"result.json"}


def test_every_phrase_is_used():
    text = HTML + "".join(CODE.values())
    families = set(re.findall(r"`([a-z]+\.)\$\{", text))
    for key in words("en.js"):
        assert f'"{key}"' in text or any(key.startswith(family) for family in families), key


@pytest.mark.parametrize(
    ("family", "names"),
    [("problem", CODES), ("verdict", VERDICTS), ("means", VERDICTS), ("state", STATES)],
)
def test_what_the_server_can_say_has_words(family, names):
    english = words("en.js")
    assert not [name for name in names if f"{family}.{name}" not in english]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_nothing_is_fetched_from_elsewhere(path):
    text = path.read_text().replace(NAMESPACE, "")
    assert not re.findall(r"https?://|\bwss?://|@import|url\(", text)


def test_nothing_is_inline():
    """What the content security policy forbids, the page does not contain."""
    for tag, attributes in elements():
        assert "style" not in attributes, tag
        assert tag != "style"
        assert not [name for name in attributes if name.startswith("on")], tag
        if tag == "script":
            assert attributes.get("src", "").startswith("page/")
    assert HTML.count("<script") == HTML.count("></script>")


@pytest.mark.parametrize("name", CODE)
def test_no_text_becomes_markup(name):
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|createContextualFragment"
    assert not re.findall(forbidden, CODE[name])


def test_every_id_that_scripts_use_exists():
    ids = [attributes["id"] for _, attributes in elements() if "id" in attributes]
    assert len(ids) == len(set(ids))
    made = set(re.findall(r'\bid: "([\w-]+)"', "".join(CODE.values())))
    for name, text in CODE.items():
        used = set(re.findall(r'\$\("([\w-]+)"\)', text))
        assert not used - set(ids) - made, name


def test_every_label_and_description_has_its_element():
    ids = {attributes.get("id") for _, attributes in elements()}
    for tag, attributes in elements():
        for name in ("for", "aria-labelledby", "aria-describedby"):
            assert attributes.get(name, "main") in ids, (tag, name)


def test_every_file_that_is_named_exists():
    names = {path.name for path in FILES}
    named = set(re.findall(r'(?:src|href)="page/([^"]+)"', HTML))
    for text in SCRIPTS.values():
        named |= set(re.findall(r'from "\./([^"]+)"', text))
    assert named == names - {"index.html"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_file_is_long(path):
    assert len(path.read_text().splitlines()) < 400
