"""Reads a page as a parser does and says what is wrong with it: labels, ids, scopes, inline code."""

from collections import Counter
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"area", "base", "br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"}
_LABELLED = {"input", "select", "textarea"}


@dataclass(slots=True)
class Element:
    name: str
    attributes: dict[str, str]
    parent: "Element | None" = None
    text: str = ""

    def inside(self, name: str) -> bool:
        return self.parent is not None and (self.parent.name == name or self.parent.inside(name))


@dataclass
class Page(HTMLParser):
    """A parsed page; `faults` is empty for one that is well made."""

    source: str
    elements: list[Element] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._open: list[Element] = []
        self.feed(self.source)
        self.close()
        if self._open:
            self.faults.append(f"never closed: {[element.name for element in self._open]}")
        self._check()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        parent = self._open[-1] if self._open else None
        element = Element(tag, {name: value or "" for name, value in attrs}, parent)
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        if not self._open or self._open[-1].name != tag:
            self.faults.append(f"</{tag}> closes {self._open[-1].name if self._open else 'nothing'}")
            return
        self._open.pop()

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.text += data

    def all(self, *names: str) -> list[Element]:
        return [element for element in self.elements if element.name in names]

    def _check(self) -> None:
        ids = Counter(element.attributes["id"] for element in self.elements if "id" in element.attributes)
        self.faults += [f"id {name!r} stands {count} times" for name, count in ids.items() if count > 1]
        labelled = {element.attributes.get("for") for element in self.all("label")}
        for element in self.elements:
            where = f"<{element.name} {element.attributes}>"
            if any(name.startswith("on") or name == "style" for name in element.attributes):
                self.faults.append(f"inline code or style: {where}")
            if element.name == "style" or (
                element.name == "script" and not element.attributes.get("src", "").startswith("/static/")
            ):
                self.faults.append(f"inline or foreign: {where}")
            typed = element.name in _LABELLED and element.attributes.get("type") != "hidden"
            if typed and element.attributes.get("id") not in labelled:
                self.faults.append(f"no label: {where}")
            if element.name == "th" and "scope" not in element.attributes:
                self.faults.append(f"no scope: {where}")
            if element.name in ("a", "button") and not element.text.strip() and "aria-label" not in element.attributes:
                self.faults.append(f"says nothing: {where}")
            for name in ("aria-describedby", "aria-labelledby"):
                missing = [one for one in element.attributes.get(name, "").split() if one not in ids]
                self.faults += [f"{name} names {one!r}, which is not there" for one in missing]
        if len(self.all("h1")) != 1:
            self.faults.append(f"{len(self.all('h1'))} h1")
        if not (self.all("html") and self.all("html")[0].attributes.get("lang")):
            self.faults.append("no language")
        if not (self.all("title") and self.all("title")[0].text.strip()):
            self.faults.append("no title")
