"""What is drawn on a PDF page: pictures, the rules of tables, and vector figures.

Knows the objects of a page as PDFium gives them, and how a part of a page becomes a picture. A
picture is what the page shows at its place, so that masks, colours, turns and labels are right.
Does not know text.
"""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from rag_vqa import images
from rag_vqa.formats.documents.page_boxes import Box
from rag_vqa.formats.documents.pdf_text import Place, turn_box

if TYPE_CHECKING:
    from PIL import Image

PAGE_PIXELS: Final = 1_400  # of the longer side of a page that is kept as a picture
PICTURE_PIXELS: Final = 1_600  # of the longer side of a picture on a page
MAX_PAGE_PICTURES: Final = 40
_MAX_OBJECTS: Final = 20_000
_MAX_SEGMENTS: Final = 20_000
_MAX_FORM_DEPTH: Final = 8
_SMALL: Final = 20.0  # points: what is smaller on both sides is a decoration
_THIN: Final = 6.0  # points: what is thinner is a line
_RULE: Final = 2.5  # points: a rule is thinner
_RULE_LENGTH: Final = 8.0  # points: a rule is longer
_PIXELS_PER_POINT: Final = (1.0, 4.0)  # least and most of a picture
_FIGURE_STROKES: Final = 24  # curves and slanted lines of a vector figure
_WHITE: Final = 250  # of 255
_BACKGROUND: Final = 0.9  # of the page's width and height
_MAX_CLUSTERS: Final = 200
_FIGURE_SIDE: Final = 72.0  # points: the least width and height of a vector figure

Matrix = tuple[float, float, float, float, float, float]


@dataclass(slots=True)
class Picture(Box):
    """A picture at its place on a page.

    Attributes:
        key: equal for a picture that is drawn on other pages at the same place.
        scale: pixels a point.
    """

    key: tuple[int, ...] = ()
    scale: float = 2.0


@dataclass(slots=True)
class PageDrawing:
    """What is drawn on a page, in the page's own places.

    Attributes:
        rules: thin lying or standing boxes.
        strokes: boxes of curves and slanted lines.
    """

    pictures: list[Picture] = field(default_factory=list)
    rules: list[Box] = field(default_factory=list)
    strokes: list[Box] = field(default_factory=list)
    objects: int = 0
    segments: int = 0


def read_drawing(page: Any, area: Box) -> PageDrawing:
    """The pictures, rules and strokes of a page of PDFium.

    Args:
        area: of the page that is shown.
    """
    import pypdfium2.raw as pdfium

    found = PageDrawing()
    count = pdfium.FPDFPage_CountObjects(page)
    for number in range(max(0, count)):
        if found.objects >= _MAX_OBJECTS:
            break
        _read_object(pdfium.FPDFPage_GetObject(page, number), None, 0, found, area)
    found.pictures = _join_pictures(found.pictures)
    if found.segments >= _MAX_SEGMENTS:
        found.rules.clear()  # a drawing of that many lines is no table
    return found


def render_page(page: Any) -> bytes | None:
    """The page as a picture; None if nothing is on it."""
    import pypdfium2.raw as pdfium

    width, height = pdfium.FPDF_GetPageWidthF(page), pdfium.FPDF_GetPageHeightF(page)
    if not (width > 0 and height > 0 and math.isfinite(width * height)):
        return None
    scale = min(PAGE_PIXELS / max(width, height), _PIXELS_PER_POINT[1])
    size = max(1, round(width * scale)), max(1, round(height * scale))
    image = _render(page, size, (0, 0), size)
    if image is None or not any(image.convert("L").histogram()[:_WHITE]):
        return None
    return images.encode(image, images.choose_format(image))


def render_picture(page: Any, picture: Box, scale: float, quarter: int) -> bytes | None:
    """A part of a page as a picture; None if nothing is there.

    Args:
        quarter: turns, clockwise, that make the page upright.
    """
    import pypdfium2.raw as pdfium
    from PIL import Image

    width, height = pdfium.FPDF_GetPageWidthF(page), pdfium.FPDF_GetPageHeightF(page)
    scale = min(scale, PICTURE_PIXELS / max(picture.width, picture.height, 1.0))
    whole = max(1, round(width * scale)), max(1, round(height * scale))
    if max(whole) > 2**20:
        return None
    corners = []
    x, y = ctypes.c_int(), ctypes.c_int()
    for corner in ((picture.left, picture.bottom), (picture.right, picture.top)):
        if not pdfium.FPDF_PageToDevice(page, 0, 0, *whole, 0, *corner, x, y):
            return None
        corners.append((x.value, y.value))
    (x0, y0), (x1, y1) = corners
    left, top = max(0, min(x0, x1)), max(0, min(y0, y1))
    size = min(whole[0], max(x0, x1)) - left, min(whole[1], max(y0, y1)) - top
    if min(size) < 2:
        return None
    image = _render(page, whole, (left, top), size)
    if image is None:
        return None
    turns = {1: Image.Transpose.ROTATE_270, 2: Image.Transpose.ROTATE_180,
             3: Image.Transpose.ROTATE_90}  # fmt: skip
    turn = (quarter - pdfium.FPDFPage_GetRotation(page)) % 4
    image = image.transpose(turns[turn]) if turn else image
    return images.encode(image, images.choose_format(image))


def find_figures(
    drawing: PageDrawing, tables: list[Box], area: Box, has_text: bool
) -> list[Picture]:
    """Vector figures: places with many curves and slanted lines that are near one another.

    Args:
        has_text: it is a page of text; else a few lines make a figure, such as a curve in its axes.
    """
    strokes = [stroke for stroke in drawing.strokes if area.contains(stroke)]
    if not has_text and strokes:
        strokes += [rule for rule in drawing.rules if area.contains(rule)]
    least = _FIGURE_STROKES if has_text else 3
    clusters: list[tuple[Box, int]] = []
    for stroke in strokes:
        if any(table.contains(stroke) for table in tables):
            continue
        box, count = Box(stroke.left, stroke.bottom, stroke.right, stroke.top), 1
        apart = []
        for other, number in clusters:
            if _are_near(box, other):
                box = _union(box, other)
                count += number
            else:
                apart.append((other, number))
        clusters = [*apart, (box, count)][-_MAX_CLUSTERS:]
    return [
        Picture(box.left, box.bottom, box.right, box.top, scale=2.0)
        for box, count in clusters
        if count >= least and min(box.width, box.height) >= _FIGURE_SIDE
        and box.width * box.height < 0.95 * area.width * area.height
    ]  # fmt: skip


def _render(
    page: Any, whole: tuple[int, int], start: tuple[int, int], size: tuple[int, int]
) -> Image.Image | None:
    """A window of a page that is drawn `whole` pixels large; None if there is no memory."""
    import pypdfium2.raw as pdfium
    from PIL import Image

    width, height = size
    bitmap = pdfium.FPDFBitmap_CreateEx(width, height, pdfium.FPDFBitmap_BGRx, None, 0)
    if not bitmap:
        return None
    try:
        pdfium.FPDFBitmap_FillRect(bitmap, 0, 0, width, height, 0xFFFFFFFF)
        flags = pdfium.FPDF_ANNOT
        pdfium.FPDF_RenderPageBitmap(bitmap, page, -start[0], -start[1], *whole, 0, flags)
        stride = pdfium.FPDFBitmap_GetStride(bitmap)
        pixels = ctypes.string_at(pdfium.FPDFBitmap_GetBuffer(bitmap), stride * height)
    finally:
        pdfium.FPDFBitmap_Destroy(bitmap)
    return Image.frombuffer("RGB", size, pixels, "raw", "BGRX", stride, 1)


def _read_object(
    each: Any, matrix: Matrix | None, depth: int, found: PageDrawing, area: Box
) -> None:
    import pypdfium2.raw as pdfium

    found.objects += 1
    kind = pdfium.FPDFPageObj_GetType(each)
    if kind == pdfium.FPDF_PAGEOBJ_IMAGE:
        _read_image(each, matrix, found, area)
    elif kind == pdfium.FPDF_PAGEOBJ_PATH:
        _read_path(each, matrix, found, area)
    elif kind == pdfium.FPDF_PAGEOBJ_FORM and depth < _MAX_FORM_DEPTH:
        inner = _multiply(_matrix_of(each), matrix)
        for number in range(max(0, pdfium.FPDFFormObj_CountObjects(each))):
            if found.objects >= _MAX_OBJECTS:
                return
            child = pdfium.FPDFFormObj_GetObject(each, number)
            _read_object(child, inner, depth + 1, found, area)


def _read_image(each: Any, matrix: Matrix | None, found: PageDrawing, area: Box) -> None:
    import pypdfium2.raw as pdfium

    place = _bounds(each, matrix)
    if place is None:
        return
    box = Box(*place)
    shown = _intersect(box, area)
    if shown is None or not area.contains(box, slack=0.25 * max(area.width, area.height)):
        return
    small = max(shown.width, shown.height) < _SMALL or min(shown.width, shown.height) < _THIN
    width, height = ctypes.c_uint(), ctypes.c_uint()
    sized = pdfium.FPDFImageObj_GetImagePixelSize(each, width, height)
    if small or not sized or max(width.value, height.value) < 3:
        return
    length = pdfium.FPDFImageObj_GetImageDataRaw(each, None, 0)
    side = max(width.value, height.value) / max(box.width, box.height)
    scale = min(max(side, _PIXELS_PER_POINT[0]), _PIXELS_PER_POINT[1])
    key = (width.value, height.value, length, *(round(edge / 3) for edge in place))
    found.pictures.append(
        Picture(shown.left, shown.bottom, shown.right, shown.top, key=key, scale=scale)
    )


def _read_path(each: Any, matrix: Matrix | None, found: PageDrawing, area: Box) -> None:
    """Add the straight lines of a path as rules, and the box of any other line as a stroke."""
    import pypdfium2.raw as pdfium

    place = _bounds(each, matrix)
    shown = None if place is None else _intersect(Box(*place), area)
    if shown is None or min(shown.width / area.width, shown.height / area.height) > _BACKGROUND:
        return
    count = pdfium.FPDFPath_CountSegments(each)
    found.segments += max(count, 0)
    if found.segments >= _MAX_SEGMENTS:
        return
    whole = _multiply(_matrix_of(each), matrix)
    x, y = ctypes.c_float(), ctypes.c_float()
    start = before = (0.0, 0.0)
    for number in range(count):
        segment = pdfium.FPDFPath_GetPathSegment(each, number)
        pdfium.FPDFPathSegment_GetPoint(segment, x, y)
        point = _apply(whole, x.value, y.value)
        kind = pdfium.FPDFPathSegment_GetType(segment)
        if kind == pdfium.FPDF_SEGMENT_MOVETO:
            start = point
        else:
            is_line = kind == pdfium.FPDF_SEGMENT_LINETO
            _add_line(before, point, is_line, found)
            if pdfium.FPDFPathSegment_GetClose(segment):
                _add_line(point, start, True, found)
        before = point


def _add_line(
    start: tuple[float, float], end: tuple[float, float], is_line: bool, found: PageDrawing
) -> None:
    box = Box(min(start[0], end[0]), min(start[1], end[1]),
              max(start[0], end[0]), max(start[1], end[1]))  # fmt: skip
    if not is_line or min(box.width, box.height) > _RULE:
        found.strokes.append(box)
    elif max(box.width, box.height) > _RULE_LENGTH:
        found.rules.append(box)


def _join_pictures(pictures: list[Picture]) -> list[Picture]:
    """Pictures that touch are one: scans and photographs are often cut in strips."""
    joined: list[Picture] = []
    for picture in pictures:
        apart = []
        for other in joined:
            if _strips(picture, other):
                union = _union(picture, other)
                picture = Picture(union.left, union.bottom, union.right, union.top,
                                  key=(*other.key, *picture.key)[:64],
                                  scale=max(picture.scale, other.scale))  # fmt: skip
            else:
                apart.append(other)
        joined = [*apart, picture][-500:]
    largest = sorted(joined, key=lambda each: -each.width * each.height)[:MAX_PAGE_PICTURES]
    return [each for each in joined if each in largest]


def _strips(one: Box, other: Box) -> bool:
    """Whether two boxes are parts of one picture: they overlap, or share an edge."""
    over = _intersect(one, other)
    if over is not None and over.width * over.height > 0.5 * min(
        one.width * one.height, other.width * other.height
    ):
        return True
    stacked = (
        abs(one.left - other.left) < 1 and abs(one.right - other.right) < 1
        and min(abs(one.bottom - other.top), abs(other.bottom - one.top)) < 1
    )  # fmt: skip
    beside = (
        abs(one.bottom - other.bottom) < 1 and abs(one.top - other.top) < 1
        and min(abs(one.left - other.right), abs(other.left - one.right)) < 1
    )  # fmt: skip
    return stacked or beside


def turn_place(box: Box, quarter: int) -> Place:
    """The place of a box after the page is turned clockwise by quarters."""
    return turn_box((box.left, box.bottom, box.right, box.top), quarter)


def _are_near(one: Box, other: Box) -> bool:
    return (
        one.left - 6 <= other.right and other.left - 6 <= one.right
        and one.bottom - 6 <= other.top and other.bottom - 6 <= one.top
    )  # fmt: skip


def _union(one: Box, other: Box) -> Box:
    return Box(min(one.left, other.left), min(one.bottom, other.bottom),
               max(one.right, other.right), max(one.top, other.top))  # fmt: skip


def _intersect(one: Box, other: Box) -> Box | None:
    box = Box(max(one.left, other.left), max(one.bottom, other.bottom),
              min(one.right, other.right), min(one.top, other.top))  # fmt: skip
    return box if box.right >= box.left and box.top >= box.bottom else None


def _bounds(each: Any, matrix: Matrix | None) -> Place | None:
    import pypdfium2.raw as pdfium

    left, bottom, right, top = (ctypes.c_float() for _ in range(4))
    if not pdfium.FPDFPageObj_GetBounds(each, left, bottom, right, top):
        return None
    edges = (left.value, bottom.value, right.value, top.value)
    if not all(map(math.isfinite, edges)):
        return None
    if matrix is None:
        return edges
    corners = [_apply(matrix, x, y) for x in edges[::2] for y in edges[1::2]]
    xs, ys = [x for x, _ in corners], [y for _, y in corners]
    return min(xs), min(ys), max(xs), max(ys)


def _matrix_of(each: Any) -> Matrix:
    import pypdfium2.raw as pdfium

    found = pdfium.FS_MATRIX()
    if not pdfium.FPDFPageObj_GetMatrix(each, found):
        return (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)
    return found.a, found.b, found.c, found.d, found.e, found.f


def _multiply(one: Matrix, other: Matrix | None) -> Matrix:
    """First `one`, then `other`."""
    if other is None:
        return one
    a, b, c, d, e, f = one
    k, l, m, n, o, p = other  # noqa: E741
    return (a * k + b * m, a * l + b * n, c * k + d * m, c * l + d * n,
            e * k + f * m + o, e * l + f * n + p)  # fmt: skip


def _apply(matrix: Matrix, x: float, y: float) -> tuple[float, float]:
    a, b, c, d, e, f = matrix
    return a * x + c * y + e, b * x + d * y + f
