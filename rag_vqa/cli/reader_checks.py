"""`doctor --reader`: the hostile set on the processor of one reader, without its weights.

It knows where a processor comes from. What is hostile is readers/hostile.py's matter.
"""

from __future__ import annotations

from rag_vqa.cli.checks import Finding
from rag_vqa.presets import revision as known_revision
from rag_vqa.settings import EMBEDDED, model_source


def reader_findings(model: str, revision: str | None, offline: bool) -> list[Finding]:
    """What its tokenizer calls control, and whether anything hostile becomes that.

    Raises:
        Missing, ReaderError: there is no such processor, or it cannot be used.
    """
    from transformers import AutoConfig

    from rag_vqa.readers.hostile import (
        control_tokens,
        failures,
        hostile_set,
        reaches_the_tokenizer,
    )
    from rag_vqa.readers.loading import check_source, explained
    from rag_vqa.readers.processors import load_processor

    source = model_source(model, "reader")
    check_source(source)
    where = {
        "revision": known_revision(model, revision) or "main",
        "local_files_only": offline or model == EMBEDDED,
    }
    with explained(source, offline):
        config = AutoConfig.from_pretrained(source, trust_remote_code=False, **where)
        processor = load_processor(source, config, **where)
    attacks = hostile_set()
    control, failed = control_tokens(processor.tokenizer), failures(processor, attacks)
    reached = reaches_the_tokenizer(processor, attacks)
    kind = type(processor).__name__
    told = f"{len(attacks)} texts; {reached} would be control tokens of it as they are"
    mend = "Do not let this reader see documents of others" if failed else ""
    return [
        Finding("processor", True, f"{kind} · {len(control)} control tokens"),
        Finding("hostile set", not failed, f"{told}, {len(failed)} become any", mend),
        *(Finding("hostile text", False, line) for line in failed),
    ]
