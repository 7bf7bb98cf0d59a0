"""What every page is held to: it nests, runs no script and fetches nothing."""

import re
from html.parser import HTMLParser

HOSTILE = '<script>alert("x")</script> & $1$^'


class Page(HTMLParser):
    """Collects tags, attributes, ids and headings, and checks that elements nest."""

    VOID = ("meta", "img", "link", "br")

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.attributes, self.ids, self.headings, self.stack = [], [], [], [], []
        self.text = text
        self.feed(text)
        assert self.stack == []

    def handle_starttag(self, tag, attributes):
        self.handle_startendtag(tag, attributes)
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        self.ids += [value for name, value in attributes if name == "id"]

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if self.stack and self.stack[-1] == "h2":
            self.headings.append(data)

    def check(self, links: str = "(?!)") -> None:
        """links: a pattern of the relative links that the page may have."""
        assert not {"script", "link", "iframe", "object", "embed", "base"} & set(self.tags)
        assert "<script" not in self.text.lower()
        assert not any(name.startswith("on") for name, _ in self.attributes)
        for name, value in self.attributes:
            if name in ("src", "href", "xlink:href", "srcset"):
                assert value.startswith(("data:image/png;base64,", "#")) or re.fullmatch(links, value), value
        assert "@import" not in self.text
        assert not re.search(r"url\((?!#)", self.text)
        assert len(self.ids) == len(set(self.ids))
        assert set(re.findall(r'(?:href="|url\()#([^")]+)', self.text)) <= set(self.ids)
