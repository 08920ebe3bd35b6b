"""docs/model-classes.md, out of what model_classes.py has seen.

Knows the words of the page. Does not know how a class is tried, and guesses nothing: what a row
does not hold is "not seen".
"""

from typing import Any

Row = dict[str, Any]
HEAD = """# Which classes of models rag-vqa reads

transformers {version} maps {images} classes for images and text, and {texts} more for text alone.
This page says what was seen of each of them here. A script writes the page, and goes on where it
was cut:

```console
$ .venv/bin/python benchmarks/model_classes.py
```

For each class it makes the default configuration small, saves random weights with a tokenizer and
the class's own image processor, and opens the folder as a user would. So the page says whether the
code of a class works, without torchvision and on a CPU. It says nothing about how well a model
answers; no released weights were seen. **Several pictures**: the answer depends on the last of
three. **experts**: a mixture of experts, which is only read unquantised. A class outside the first
table may still work with its released files, because our small ones may not fit it: `rag-vqa models
check MODEL` says more.

"""
EXPERTS = "mixture of experts"
REASONS = (  # from a part of an error to the words of the page; the first that is found counts
    ("torchvision", "needs torchvision"),
    ("timm library", "needs timm"),
    ("no image processor", "no image processor is mapped"),
    ("has no processor", "no processor is mapped"),
    ("no mark for an image", "no place for a picture within a text"),
    ("cannot be quantised here", "no language model apart from the rest"),
    ("not done after", "took too long"),
    ("Unrecognized configuration", "transformers loads it as another kind"),
    ("still has", "no small configuration"),
    ("requires", "needs another package"),
    ("the process ended", "the process ended"),
)


def page(found: dict[str, Any]) -> str:
    """The page in Markdown."""
    images, texts = found["image"], found["text"]
    parts = [
        HEAD.format(version=found["transformers"], images=len(images), texts=len(texts)),
        _reads(images),
        _weights_alone(images),
        _others(images),
        _texts(texts),
    ]
    return "".join(parts).rstrip() + "\n"


def _reads(rows: dict[str, Row]) -> str:
    chosen = {kind: row for kind, row in rows.items() if row.get("loads")}
    lines = [
        f"| {row['class']} | yes | {_mark(row, 'nf4')} | {_mark(row, 'int8')} "
        f"| {_mark(row, 'one picture')} | {_mark(row, 'several pictures')} | tiny weights |"
        for row in _by_name(chosen)
    ]
    return (
        f"## Images and text: {len(lines)} read\n\n"
        "| class | loads | nf4 | int8 | one picture | several pictures | seen with |\n"
        "|---|---|---|---|---|---|---|\n" + "\n".join(lines) + "\n\n"
    )


def _weights_alone(rows: dict[str, Row]) -> str:
    chosen = {kind: row for kind, row in rows.items() if _only_weights(row)}
    lines = [
        f"| {row['class']} | {_mark(row, 'weights nf4')} | {_mark(row, 'weights int8')} "
        f"| {reason(row)} |"
        for row in _by_name(chosen)
    ]
    return (
        f"## Images and text: {len(lines)} of which only the weights were seen\n\n"
        "Their weights load and read a text. The reader as a whole does not open, or our small "
        "files do not fit it.\n\n"
        "| class | nf4 | int8 | why not the whole reader |\n"
        "|---|---|---|---|\n" + "\n".join(lines) + "\n\n"
    )


def _others(rows: dict[str, Row]) -> str:
    chosen = {k: row for k, row in rows.items() if not row.get("loads") and not _only_weights(row)}
    lines = [f"| {row['class']} | {reason(row)} |" for row in _by_name(chosen)]
    return (
        f"## Images and text: {len(lines)} not read, or not seen\n\n"
        "| class | why |\n|---|---|\n" + "\n".join(lines) + "\n\n"
    )


def _texts(rows: dict[str, Row]) -> str:
    """Language models, as lists: their only columns are loading and quantisation."""
    groups: dict[str, list[str]] = {}
    for row in _by_name(rows):
        if not row.get("loads"):
            why = reason(row)
            title = "Not seen" if why == "not seen" else f"Not seen: {why}"
        elif all(row.get(each) == "ok" for each in ("nf4", "int8")):
            title = "Read, in nf4 and int8 too"
        elif EXPERTS in row.get("nf4", ""):
            title = "Read unquantised, because experts cannot be quantised here"
        else:
            works = [each for each in ("nf4", "int8") if row.get(each) == "ok"]
            title = f"Read, of the quantised ones {works[0] if works else 'none'}"
        groups.setdefault(title, []).append(row["class"])
    ordered = sorted(groups, key=lambda title: (not title.startswith("Read, in"), title))
    parts = [
        f"- **{title}** ({len(groups[title])}): {', '.join(groups[title])}." for title in ordered
    ]
    return "## Text alone\n\nThese read documents without their pictures.\n\n" + "\n".join(parts)


def reason(row: Row) -> str:
    """Why a class was not seen, in a few words."""
    for place in ("images", "weights", "error", "weights none"):
        error = row.get(place, "ok")
        if error == "ok":
            continue
        known = next((words for part, words in REASONS if part in error), None)
        if known:
            return known
        if place == "images":
            return "no small picture fits its processor"
        if place == "error":
            return f"our small files do not fit ({error.partition(':')[0]})"
        return "no small configuration"
    return "not seen"


def _only_weights(row: Row) -> bool:
    return not row.get("loads") and row.get("weights none") == "ok"


def _mark(row: Row, what: str) -> str:
    found = row.get(what)
    if found is None:
        return "not seen"
    return "yes" if found == "ok" else "experts" if EXPERTS in found else "no"


def _by_name(rows: dict[str, Row]) -> list[Row]:

    return sorted(rows.values(), key=lambda row: row["class"].lower())
