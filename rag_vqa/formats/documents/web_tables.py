"""Tables of web pages: rows of cells as lines, and tables that only lay out a page.

Knows cells that span rows and columns. Does not know where cells get their text.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from rag_vqa.formats.documents.web_tree import HEADINGS, Attributes, Node

MAX_COLUMNS: Final = 1_000
_MAX_REPEATED: Final = 200  # characters of a cell that each row below it repeats
_MAX_SPAN: Final = 100
_LONG_CELL: Final = 400  # characters; tables of data rarely have a longer one beside only one other
_FEW_CELLS: Final = 4
_MOST_NODES: Final = 20_000  # of a table, to look at
_MOST_NESTED: Final = 2_000  # if there are tables in it: each may have others in it
_BLOCKS_OF_A_PAGE: Final = frozenset(("main", "article", "section", "nav", "header", "form", "pre"))


def is_layout(table: Node, attributes: Attributes) -> bool:
    """Whether a table arranges parts of a page instead of data."""
    if (attributes.get("role") or "").strip().lower() in ("presentation", "none"):
        return True
    has_heads, has_nested, in_row, most = False, False, 0, 0
    cells: list[Node] = []
    most_nodes = _MOST_NODES
    for number, node in enumerate(table.traverse()):
        tag = node.tag
        if number > most_nodes:
            break
        if tag in _BLOCKS_OF_A_PAGE:
            return True
        if tag in HEADINGS and (node.parent is None or node.parent.tag != "th"):
            return True
        if tag == "tr":
            in_row = 0
        elif tag in ("td", "th"):
            cells.append(node)
            in_row += 1
            most = max(most, in_row)
        if tag == "table" and number > 0:
            if not has_heads:
                return True
            has_nested, most_nodes = True, min(most_nodes, _MOST_NESTED)
        has_heads = has_heads or tag in ("th", "caption", "thead")
    if has_heads and not has_nested:
        return False
    if has_nested or most < 2:
        return True
    is_small = len(cells) <= _FEW_CELLS
    return is_small and any(len(cell.text(deep=True)) > _LONG_CELL for cell in cells)


@dataclass(slots=True)
class Cell:
    """A cell of a row.

    Attributes:
        rows: number of rows that it spans.
        columns: number of columns that it spans.
    """

    text: str
    rows: int = 1
    columns: int = 1


def read_span(attributes: Attributes, name: str) -> int:
    """How many rows or columns a cell spans; 1 if it does not say it."""
    value = (attributes.get(name) or "").strip()
    return min(_MAX_SPAN, max(1, int(value))) if value.isascii() and value.isdigit() else 1


@dataclass(slots=True)
class TableRows:
    """Rows of one table as lines, one after the other.

    A cell that spans rows is repeated in each, and one that spans columns in each column, so that
    every line can be understood alone. One that spans all columns stands there once.
    """

    _cells: list[Cell] = field(default_factory=list)
    _from_above: dict[int, Cell] = field(default_factory=dict)

    def add_cell(self, cell: Cell) -> None:
        self._cells.append(cell)

    def end_row(self) -> str:
        """The row as a line: "cell | cell"; "" if all cells are empty."""
        cells, self._cells = self._cells, []
        texts: list[str] = []
        for cell in cells:
            self._fill_from_above(texts)
            text = cell.text if len(cell.text) <= _MAX_REPEATED else ""
            width = cell.columns if len(cells) > 1 or self._from_above else 1
            for number in range(width):
                if len(texts) >= MAX_COLUMNS:
                    break
                if cell.rows > 1:
                    self._from_above[len(texts)] = Cell(text, cell.rows)
                texts.append(cell.text if number == 0 else text)
        self._fill_from_above(texts)
        for column, cell in [*self._from_above.items()]:
            cell.rows -= 1
            if cell.rows < 1:
                del self._from_above[column]
        while texts and not texts[-1]:
            texts.pop()
        return " | ".join(texts).strip() if any(texts) else ""

    def _fill_from_above(self, texts: list[str]) -> None:
        while len(texts) in self._from_above and len(texts) < MAX_COLUMNS:
            texts.append(self._from_above[len(texts)].text)
