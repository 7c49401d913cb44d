"""Strict XML 1.0 with namespaces, and its canonical form, for signed documents (Canonical XML 1.1, without comments).

Ours because a verifier needs little of XML and fears the rest: no document type, so no entities; no processing
instructions, no CDATA, no ``xml:`` attributes (whose inheritance is all that Canonical XML 1.0 and 1.1 differ in);
size, depth and number of elements are bounded. Comments are dropped before anybody reads the text, as canonical form
does. What is read and what is hashed is one and the same tree.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn
from xml.parsers import expat

from fastness.errors import MalformedEvidence

MAX_XML = 1 << 20
MAX_DEPTH = 16
MAX_ELEMENTS = 16384
MAX_ATTRIBUTES = 256


@dataclass(frozen=True, slots=True)
class Element:
    """One element: ``name`` and ``attributes`` by (namespace, local name), as resolved; ``children`` with text.

    ``tag`` and ``written`` are as in the document, with prefixes; ``scope`` maps each prefix in scope to its
    namespace; the empty prefix is the default namespace.
    """

    name: tuple[str, str]
    attributes: Mapping[tuple[str, str], str]
    children: tuple[Element | str, ...]
    tag: str
    written: tuple[tuple[str, str], ...]
    scope: Mapping[str, str]

    @property
    def elements(self) -> tuple[Element, ...]:
        """The children that are elements."""
        return tuple(item for item in self.children if isinstance(item, Element))

    @property
    def text(self) -> str:
        """The text directly inside."""
        return "".join(item for item in self.children if isinstance(item, str))

    def of(self, namespace: str, local: str) -> tuple[Element, ...]:
        """The child elements of this name."""
        return tuple(item for item in self.elements if item.name == (namespace, local))

    def walk(self) -> Iterator[Element]:
        """This element and all below it, in document order."""
        yield self
        for item in self.elements:
            yield from item.walk()


@dataclass(slots=True)
class _Open:
    tag: str
    written: tuple[tuple[str, str], ...]
    scope: dict[str, str]
    children: list[Element | str]


def parse(data: bytes, field: str = "xml") -> Element:
    """The root element of a document of at most 1 MiB, in UTF-8.

    Raises:
        MalformedEvidence: not well-formed, outside the restrictions above, or too large.
    """
    if len(data) > MAX_XML:
        raise MalformedEvidence(field, 0, f"at most {MAX_XML} bytes", len(data))
    try:
        data.decode()  # expat follows a UTF-16 byte order mark whatever it is told
    except UnicodeDecodeError as error:
        raise MalformedEvidence(field, error.start, "UTF-8", data[error.start : error.start + 4].hex()) from None
    return _Builder(field).run(data)


class _Builder:
    """Expat's events into elements."""

    def __init__(self, field: str) -> None:
        self._field = field
        self._open: list[_Open] = []
        self._root: Element | None = None
        self._count = 0
        self._parser = parser = expat.ParserCreate("UTF-8")
        parser.ordered_attributes = True
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.XmlDeclHandler = self._declaration
        parser.StartDoctypeDeclHandler = self._refuse("no document type")
        parser.ProcessingInstructionHandler = self._refuse("no processing instruction")
        parser.StartCdataSectionHandler = self._refuse("no CDATA")

    def run(self, data: bytes) -> Element:
        try:
            self._parser.Parse(data, True)
        except expat.ExpatError as error:
            reason = expat.ErrorString(error.code)
            raise MalformedEvidence(
                self._field, max(self._parser.ErrorByteIndex, 0), "well-formed XML", reason
            ) from None
        if self._root is None:
            raise MalformedEvidence(self._field, 0, "one element", "none")
        return self._root

    def _fail(self, need: str, have: object = "it") -> NoReturn:
        raise MalformedEvidence(self._field, max(self._parser.CurrentByteIndex, 0), need, have)

    def _refuse(self, need: str) -> Any:
        def refuse(*_: object) -> None:
            self._fail(need)

        return refuse

    def _declaration(self, version: str, encoding: str | None, _standalone: int) -> None:
        if version != "1.0" or (encoding or "UTF-8").upper() not in ("UTF-8", "ASCII", "US-ASCII"):
            self._fail("XML 1.0 in UTF-8", f"{version} in {encoding}")

    def _start(self, tag: str, flat: list[str]) -> None:
        self._count += 1
        if len(self._open) >= MAX_DEPTH or self._count > MAX_ELEMENTS or len(flat) > 2 * MAX_ATTRIBUTES:
            self._fail(f"at most {MAX_ELEMENTS} elements, {MAX_DEPTH} deep, with {MAX_ATTRIBUTES} attributes", "more")
        scope = dict(self._open[-1].scope) if self._open else {}
        written = []
        for name, value in zip(flat[::2], flat[1::2], strict=True):
            prefix, _, local = name.partition(":")
            if name == "xmlns":
                scope[""] = value
            elif prefix == "xmlns":
                if not value or local in ("xml", "xmlns"):
                    self._fail("a namespace that can be bound", name)
                scope[local] = value
            else:
                written.append((name, value))
        self._open.append(_Open(tag, tuple(written), scope, []))

    def _text(self, text: str) -> None:
        if self._open:
            self._open[-1].children.append(text)

    def _end(self, _: str) -> None:
        part = self._open.pop()
        attributes: dict[tuple[str, str], str] = {}
        for name, value in part.written:
            resolved = self._resolve(name, part.scope, attribute=True)
            if resolved in attributes:
                self._fail("attributes once each", name)
            attributes[resolved] = value
        element = Element(
            self._resolve(part.tag, part.scope, attribute=False),
            attributes,
            tuple(part.children),
            part.tag,
            part.written,
            part.scope,
        )
        if self._open:
            self._open[-1].children.append(element)
        else:
            self._root = element

    def _resolve(self, name: str, scope: Mapping[str, str], *, attribute: bool) -> tuple[str, str]:
        prefix, colon, local = name.partition(":")
        if not colon:
            return ("" if attribute else scope.get("", "")), name
        if not prefix or not local or ":" in local or prefix not in scope:
            self._fail("a prefix that is bound, and not xml", name)
        return scope[prefix], local


def canonical(element: Element, without: Element | None = None) -> bytes:
    """Canonical XML 1.1 (and 1.0), without comments, of ``element`` and all below it but the child ``without``.

    Namespaces that ``element`` inherits are written into it, as both versions ask for a document subset.
    """
    pieces: list[str] = []
    _canonical(element, {}, without, pieces)
    return "".join(pieces).encode()


def _canonical(element: Element, rendered: Mapping[str, str], without: Element | None, pieces: list[str]) -> None:
    pieces.append("<" + element.tag)
    for prefix, uri in sorted(element.scope.items()):
        if rendered.get(prefix, "") != uri:
            pieces.append(f' xmlns{":" if prefix else ""}{prefix}="{_attribute(uri)}"')
    names = dict(zip(element.attributes, element.written, strict=True))
    for key in sorted(names):
        name, value = names[key]
        pieces.append(f' {name}="{_attribute(value)}"')
    pieces.append(">")
    for item in element.children:
        if isinstance(item, str):
            pieces.append(_escaped(item))
        elif item is not without:
            _canonical(item, element.scope, without, pieces)
    pieces.append(f"</{element.tag}>")


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\r", "&#xD;")


def _attribute(text: str) -> str:
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return escaped.replace("\t", "&#x9;").replace("\n", "&#xA;").replace("\r", "&#xD;")
