"""`rag-vqa prompt`: what the reader would be given."""

from __future__ import annotations

import typer

from rag_vqa.cli import options
from rag_vqa.cli.output import print_json, visible
from rag_vqa.cli.run import Run

app = typer.Typer(no_args_is_help=True, help="The prompt that a reader is given.")


@app.command()
def show(
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
    reader: options.Reader = None,
    server: options.Server = None,
    max_pixels: options.MaxPixels = None,
    max_images: options.MaxImages = None,
    hybrid: options.Hybrid = None,
    sections: options.Sections = None,
    yes: options.Yes = False,
) -> None:
    """Print the exact prompt, without asking. The reader loads, for limits and template."""
    from rag_vqa.cli.models import open_pipeline, question

    run: Run = ctx.obj
    settings = options.settings_of(ctx)
    picture, only = options.image_file(image), options.where_filter(where)
    query = question(settings, options.question_text(text), picture)
    rag = open_pipeline(run, settings, path, where=only, yes=yes)
    prompt = rag.prompt(query, rag.select([query], rag.retrieve([query], where=only))[0])
    exact = rag.reader.render(prompt)
    if run.json:
        kept = [hit.document.id for hit in prompt.kept]
        print_json({"prompt": exact, "kept": kept, "dropped": dict(prompt.dropped)})
    else:
        print(visible(exact))
