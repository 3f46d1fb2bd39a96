"""A page as a reader and a browser see it."""

from __future__ import annotations

from html.parser import HTMLParser


class Page(HTMLParser):
    """Collects the text a reader sees, the tags in use and every address a browser could load."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.open: list[str] = []
        self.feed(markup)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in {"meta", "img", "input", "br"}:
            self.open.append(tag)
        for key, value in attrs:
            if key in {"src", "href", "xlink:href", "action", "data", "poster", "srcset"} and value:
                self.addresses.append(value)
            if key == "id" and value:
                self.ids.append(value)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        if not {"style", "script", "pre", "svg"} & set(self.open):
            self.seen.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.seen).split())
