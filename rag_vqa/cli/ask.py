"""`rag-vqa ask`: the answer, with numbered evidence."""

from __future__ import annotations

import typer

from rag_vqa.cli import options
from rag_vqa.cli.output import WITHOUT, answer_json, print_answer, print_json, say_none
from rag_vqa.cli.run import Run


def ask(
    ctx: typer.Context,
    path: options.KnowledgeBasePath,
    text: options.Question,
    image: options.Image = None,
    k: options.K = None,
    where: options.Where = None,
    instruction: options.Instruction = None,
    template: options.Template = None,
    language: options.Language = None,
    filter: options.Filter = None,
    retriever: options.Retriever = None,
    reader: options.Reader = None,
    server: options.Server = None,
    quantization: options.Quantization = None,
    device: options.Device = None,
    max_new_tokens: options.MaxNewTokens = None,
    max_pixels: options.MaxPixels = None,
    max_images: options.MaxImages = None,
    index: options.Index = None,
    hybrid: options.Hybrid = None,
    sections: options.Sections = None,
    yes: options.Yes = False,
) -> None:
    """Answer a question, with numbered evidence."""
    from rag_vqa.cli.models import open_pipeline, question

    run: Run = ctx.obj
    settings = options.settings_of(ctx)
    picture, only = options.image_file(image), options.where_filter(where)
    query = question(settings, options.question_text(text), picture)
    rag = open_pipeline(run, settings, path, where=only, yes=yes)
    if run.json:
        answer = rag.ask(query.text, query.image, instruction=query.instruction, where=only)
        if settings.k and not answer.hits:
            say_none(rag, only, WITHOUT)
        print_json(answer_json(answer))
    else:
        print_answer(rag, query, where=only, quiet=run.quiet)
