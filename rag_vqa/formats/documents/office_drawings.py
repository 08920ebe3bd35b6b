"""Drawings in office files: their pictures, and the words of their charts and diagrams.

Knows DrawingML, which Word and PowerPoint share, and the older VML. Does not know where a drawing
stands.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from rag_vqa.formats.documents.office_package import (
    OfficePackage,
    Relationship,
    attribute,
    child_of,
    descendants,
    tag_of,
)
from rag_vqa.formats.documents.section_writer import format_row

_MAX_CHART_POINTS: Final = 1_000  # of a series: more is data, not a figure
_OBJECT_PREVIEWS: Final = (".wmf", ".emf")  # of embedded formulas and sheets: no pictures
RAISED: Final = str.maketrans("0123456789+-−()n", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁽⁾ⁿ")
_ALTERNATIVES: Final = ("Choice", "Fallback")


def drawing_pictures(
    drawing: Any, package: OfficePackage, links: Mapping[str, Relationship]
) -> Iterator[bytes | str]:
    """The pictures of a drawing, each once. Of a picture in two formats, the one that all read."""
    names: dict[str, None] = {}
    for blip in descendants(drawing, "blip", "imagedata", "fill"):
        name = attribute(blip, "embed") or attribute(blip, "link")
        if tag_of(blip) != "blip":
            name = attribute(blip, "id") or attribute(blip, "href")
        if name is None:
            vector = next(descendants(blip, "svgBlip"), None)
            name = None if vector is None else attribute(vector, "embed")
        if name:
            names[name] = None
    for name in names:
        link = links.get(name)
        if link is None or link.kind != "image":
            continue
        if tag_of(drawing) == "object" and link.target.lower().endswith(_OBJECT_PREVIEWS):
            continue
        yield package.picture(link)


def drawing_texts(
    drawing: Any, package: OfficePackage, links: Mapping[str, Relationship]
) -> Iterator[str]:
    """The tables behind its charts, and the words in its diagrams."""
    for chart in descendants(drawing, "chart"):
        root = _linked_root(package, links, attribute(chart, "id"))
        if root is not None:
            yield _chart_text(root)
    for diagram in descendants(drawing, "relIds"):
        root = _linked_root(package, links, attribute(diagram, "dm"))
        if root is not None:
            yield "\n".join(filter(None, (drawing_paragraph(p) for p in descendants(root, "p"))))


def drawing_paragraph(paragraph: Any) -> str:
    """The text of a paragraph of DrawingML."""
    pieces = []
    for each in paragraph.iter("{*}*"):
        name = tag_of(each)
        if name == "t":
            pieces.append(_raise_text(each))
        elif name == "br":
            pieces.append("\n")
    return "".join(pieces).strip()


def _raise_text(element: Any) -> str:
    """The text of a run; digits that are raised stay raised."""
    text: str = element.text or ""
    properties = child_of(element.getparent(), "rPr")
    baseline = "" if properties is None else attribute(properties, "baseline") or ""
    if baseline.isdecimal() and int(baseline) > 0:
        raised = text.translate(RAISED)
        return raised if not set(raised) & set(text) else text
    return text


def choose_alternative(element: Any) -> Any | None:
    """Of content in two editions, the newer one, unless nothing is in it."""
    for name in _ALTERNATIVES:
        found = child_of(element, name)
        if found is not None and len(found):
            return found
    return None


def _linked_root(
    package: OfficePackage, links: Mapping[str, Relationship], identity: str | None
) -> Any | None:
    link = links.get(identity or "")
    return None if link is None or link.external else package.xml_or_none(link.target)


def _chart_text(root: Any) -> str:
    """Title and table of a chart: a row a category, a column a series."""
    title = next(descendants(root, "title"), None)
    heading = "" if title is None else " ".join(p.text or "" for p in descendants(title, "t", "v"))
    columns: list[tuple[str, dict[str, str]]] = []
    categories: dict[str, str] = {}
    for series in descendants(root, "ser"):
        name = child_of(series, "tx")
        label = "" if name is None else " ".join(each.text or "" for each in descendants(name, "v"))
        for axis in ("cat", "xVal"):
            categories = categories or _chart_points(child_of(series, axis))
        for axis in ("val", "yVal"):
            if points := _chart_points(child_of(series, axis)):
                columns.append((label, points))
    keys = list(categories) or list(columns[0][1] if columns else ())
    rows = [format_row(["", *(label for label, _ in columns)])]
    for key in keys:
        values = (points.get(key, "") for _, points in columns)
        rows.append(format_row([categories.get(key, ""), *values]))
    return "\n".join(line for line in (heading, *rows) if line)


def _chart_points(axis: Any | None) -> dict[str, str]:
    points: dict[str, str] = {}
    for point in () if axis is None else descendants(axis, "pt"):
        value = child_of(point, "v")
        points[point.get("idx", "")] = "" if value is None else value.text or ""
        if len(points) >= _MAX_CHART_POINTS:
            break
    return points
