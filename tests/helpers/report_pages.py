"""Reading the pages of ``golf report`` in tests."""

import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree


class TagChecker(HTMLParser):
    """Collects the tags of a page, and those that are not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.tags, self.open, self.problems = set(), [], []

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.add(tag)
        self.open.append(tag)

    def handle_startendtag(self, tag, attrs) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag) -> None:
        if self.open.pop() != tag:
            self.problems.append(tag)


def parse_page(path: Path | str = "report.html") -> ElementTree.Element:
    """The page, parsed as XML, which it is apart from its doctype."""
    return ElementTree.fromstring(Path(path).read_text(encoding="utf-8"))


def read_section(root: ElementTree.Element, anchor: str) -> str:
    section = next(node for node in root.iter("section") if node.get("id") == anchor)
    return " ".join("".join(section.itertext()).split())


def find_charts(root: ElementTree.Element) -> set[str]:
    """The ids of the page's pictures."""
    labels = [node.get("aria-labelledby") for node in root.iter("svg") if node.get("role") == "img"]
    return {label.removesuffix("-title") for label in labels}


def assert_whole_html(path: Path | str, anchors: tuple[str, ...]) -> None:
    """Every tag is closed in order, every id is unique, every link leads to a section, and nothing is a script."""
    root, checker = parse_page(path), TagChecker()
    checker.feed(Path(path).read_text(encoding="utf-8"))
    assert (checker.problems, checker.open) == ([], [])
    assert checker.tags.isdisjoint({"script", "iframe", "object", "embed", "img", "form"})
    ids = [node.get("id") for node in root.iter() if node.get("id")]
    assert len(ids) == len(set(ids))
    assert {node.get("href").removeprefix("#") for node in root.iter("a")} == set(anchors)


def assert_no_address(path: Path | str) -> None:
    """The page names nothing that a browser would load, and its policy forbids it."""
    root, text = parse_page(path), Path(path).read_text(encoding="utf-8")
    assert not re.search(r"https?:|//\w|@import|url\(", text)
    loaded = [value for node in root.iter() for key, value in node.attrib.items() if key in ("src", "srcset", "data")]
    assert loaded == []
    assert [node.get("href") for node in root.iter("link")] == ["data:,"]
    policy = next(node.get("content") for node in root.iter("meta") if node.get("http-equiv"))
    assert policy.startswith("default-src 'none';")
