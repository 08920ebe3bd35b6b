"""Word and PowerPoint files written by hand, part by part, as many programs write them."""

from __future__ import annotations

import zipfile
from pathlib import Path

W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
R = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
STRICT_W = "http://purl.oclc.org/ooxml/wordprocessingml/main"
STRICT_R = "http://purl.oclc.org/ooxml/officeDocument/relationships"
NAMESPACES = (
    f'xmlns:w="{W}" xmlns:r="{R}" '
    'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main" '
    'xmlns:wp="http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing" '
    'xmlns:pic="http://schemas.openxmlformats.org/drawingml/2006/picture" '
    'xmlns:wps="http://schemas.microsoft.com/office/word/2010/wordprocessingShape" '
    'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006" '
    'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math" '
    'xmlns:c="http://schemas.openxmlformats.org/drawingml/2006/chart" '
    'xmlns:dgm="http://schemas.openxmlformats.org/drawingml/2006/diagram" '
    'xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main" '
    'xmlns:v="urn:schemas-microsoft-com:vml" xmlns:o="urn:schemas-microsoft-com:office:office" '
    'xmlns:w14="http://schemas.microsoft.com/office/word/2010/wordml"'
)


def relationships(links: dict[str, tuple[str, str]], base: str = R) -> str:
    """Of id → (kind, target); a target with `://` is external."""
    rows = "".join(
        f'<Relationship Id="{name}" Type="{base}/{kind}" Target="{target}"'
        + (' TargetMode="External"' if "://" in target else "")
        + "/>"
        for name, (kind, target) in links.items()
    )
    return (
        '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
        f'<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">{rows}'
        "</Relationships>"
    )


def write_package(path: Path, parts: dict[str, str | bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in parts.items():
            file.writestr(name, content)
    return path


def write_docx(
    path: Path,
    body: str,
    *,
    styles: str = "",
    numbering: str = "",
    footnotes: str = "",
    links: dict[str, tuple[str, str]] | None = None,
    parts: dict[str, str | bytes] | None = None,
    core: str = "",
    strict: bool = False,
) -> Path:
    """A Word file with a body of XML."""
    head = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'

    def root(name: str, content: str) -> str:
        text = f"{head}<w:{name} {NAMESPACES}>{content}</w:{name}>"
        return text.replace(W, STRICT_W).replace(R, STRICT_R) if strict else text

    base = STRICT_R if strict else R
    linked = dict(links or {})
    found = {"word/document.xml": root("document", f"<w:body>{body}</w:body>")}
    for kind, content in (("styles", styles), ("numbering", numbering), ("footnotes", footnotes)):
        if content:
            linked[f"rId-{kind}"] = (kind, f"{kind}.xml")
            found[f"word/{kind}.xml"] = root(kind, content)
    top = {"rId1": ("officeDocument", "word/document.xml")}
    found["word/_rels/document.xml.rels"] = relationships(linked, base)
    if core:
        found["docProps/core.xml"] = (
            f"{head}<cp:coreProperties "
            'xmlns:cp="http://schemas.openxmlformats.org/package/2006/metadata/core-properties" '
            'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:dcterms="http://purl.org/dc/terms/" '
            f">{core}</cp:coreProperties>"
        )
    found["_rels/.rels"] = relationships(top, base)
    return write_package(path, {**found, **(parts or {})})


def paragraph(text: str, style: str = "", properties: str = "") -> str:
    style = f'<w:pStyle w:val="{style}"/>' if style else ""
    return (
        f"<w:p><w:pPr>{style}{properties}</w:pPr>"
        f'<w:r><w:t xml:space="preserve">{text}</w:t></w:r></w:p>'
    )


def table(*rows: list[str]) -> str:
    """Rows of cells; a cell that begins with `<` is XML already."""
    cells = [
        "".join(
            cell if cell.startswith("<w:tc") else f"<w:tc>{_blocks(cell)}</w:tc>" for cell in row
        )
        for row in rows
    ]
    return "<w:tbl>" + "".join(f"<w:tr>{row}</w:tr>" for row in cells) + "</w:tbl>"


def _blocks(cell: str) -> str:
    return cell if cell.startswith("<") else paragraph(cell)


def picture(link: str, anchored: bool = False) -> str:
    """A drawing with one picture."""
    kind = "anchor" if anchored else "inline"
    return (
        f'<w:drawing><wp:{kind}><wp:extent cx="914400" cy="685800"/><a:graphic><a:graphicData>'
        f'<pic:pic><pic:blipFill><a:blip r:embed="{link}"/></pic:blipFill></pic:pic>'
        f"</a:graphicData></a:graphic></wp:{kind}></w:drawing>"
    )


def text_box(content: str) -> str:
    """A text box as Word writes it: twice, for programs old and new."""
    box = f"<w:txbxContent>{content}</w:txbxContent>"
    return (
        "<w:r><mc:AlternateContent>"
        f'<mc:Choice Requires="wps"><w:drawing><wp:anchor><a:graphic><a:graphicData><wps:wsp>'
        f"<wps:txbx>{box}</wps:txbx></wps:wsp></a:graphicData></a:graphic></wp:anchor></w:drawing>"
        f"</mc:Choice><mc:Fallback><w:pict><v:shape><v:textbox>{box}</v:textbox></v:shape></w:pict>"
        "</mc:Fallback></mc:AlternateContent></w:r>"
    )
