"""From settings to opened models: knowledge base, retriever, reader, pipeline.

Knows in which order mistakes can be found cheaply: everything is checked before a model loads. Does
not know any verb, nor how a model is loaded (retriever/, readers/).
"""

from __future__ import annotations

import filecmp
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag_vqa.checkpoints import EMBEDDED, known_revision, model_source, processor_source
from rag_vqa.cli.context import CommandContext
from rag_vqa.errors import Mismatch, Missing, UsageError
from rag_vqa.formatting import one_line
from rag_vqa.jobs.document_source import require_path
from rag_vqa.jobs.download_consent import ModelRevision, ask_before_download

if TYPE_CHECKING:
    from rag_vqa.pipeline import RagVqa
    from rag_vqa.retriever.knowledge_base import KnowledgeBase
    from rag_vqa.retriever.modeling.encoder import Encoder
    from rag_vqa.retriever.store.kb_manifest import Manifest
    from rag_vqa.settings_schema import Settings
    from rag_vqa.types import ImageSource, Query, Where


def open_pipeline(
    run: CommandContext,
    settings: Settings,
    path: Path,
    *,
    where: Where | None = None,
    yes: bool = False,
    read: bool = True,
    warm: bool = True,
) -> RagVqa:
    """A RagVqa over the knowledge base at `path`, its models agreed to; the reader loads later.

    `read` False: only searched, so that no reader is asked for. `warm` False: the retriever, too,
    loads when it is first needed.

    Raises:
        UsageError, Mismatch: what cannot go together, before any model loads.
        Missing: a model that is not here.
    """
    from rag_vqa.retriever.index import check_engine

    if read:
        check_template(settings)
        check_filter(settings)
    if where and not settings.k:
        raise UsageError("--where says what to retrieve, and -k 0 retrieves nothing: give one.")
    kb = _open_folder(path)
    wanted: list[ModelRevision] = []
    if settings.k:
        check_engine(settings.retriever.index)
        kb.search([], settings.k, where)  # checks the names of the filter
        wanted.append(_retriever_of(run, kb.manifest, settings, path))
    if read:
        wanted += reader_models(settings)
        if settings.reader.model is None:
            run.note("Reading with the embedded model. Choose another: --reader, or --preset")
    check_models(wanted, settings, yes, kb.manifest.options)
    if settings.k:
        kb.close()
        options = kb.manifest.options
        kb = _open_folder(path, lambda: load_encoder(settings, *wanted[0], options))
        if warm:
            kb.encoder  # noqa: B018  loads it
        asked = settings.retriever
        kb.engine, kb.hybrid, kb.sections = asked.index, asked.hybrid, asked.sections
        if kb.retriever.choice.engine != "exact" or "slow" in kb.retriever.choice.reason:
            run.note(kb.retriever.choice.reason)
    return make_pipeline(settings, kb)


def open_knowledge_base(path: Path) -> KnowledgeBase:
    """The knowledge base at `path`, without its retriever. Raises UsageError if there is none."""
    return _open_folder(path)


def check_not_locked(path: Path) -> None:
    """Raises RagVqaError, with its name, if another process writes the knowledge base at `path`:
    before minutes are spent on a source."""
    from rag_vqa.retriever.store.database import DATABASE_FILE
    from rag_vqa.storage import lock

    if (path / DATABASE_FILE).exists():
        with lock.hold_lock(path):
            pass


def open_for_writing(
    run: CommandContext, settings: Settings, path: Path, yes: bool
) -> KnowledgeBase:
    """The knowledge base at `path`; its retriever was agreed to, and loads when first needed."""
    kb = _open_folder(path)
    check_not_locked(path)
    built = _retriever_of(run, kb.manifest, settings, path)
    kb.close()
    check_models([built], settings, yes, kb.manifest.options)
    return _open_folder(path, lambda: load_encoder(settings, *built, kb.manifest.options))


def choose_retriever(
    run: CommandContext, settings: Settings, out: Path, split: str | None, kept: bool | None
) -> tuple[ModelRevision, Mapping[str, str | bool]]:
    """The retriever of the knowledge base at `out`, with what it was built with: its own if there
    is one, else that asked for.

    Raises:
        UsageError, Mismatch: see `open_pipeline`.
    """
    from rag_vqa.retriever.compatibility import check_build_options
    from rag_vqa.retriever.store.database import DATABASE_FILE

    if (out / DATABASE_FILE).exists():
        check_not_locked(out)
        with _open_folder(out) as kb:
            check_build_options(out, kb.manifest, split, kept)
            return _retriever_of(run, kb.manifest, settings, out), kb.manifest.options
    asked = settings.retriever
    _check_revision(settings)
    if asked.model is None:
        run.note("Encoding with the embedded retriever. Choose another: --retriever, or --preset")
    return (asked.model or EMBEDDED, known_revision(asked.model, asked.revision)), {}


def check_template(settings: Settings) -> None:
    """Raises UsageError if there is no such template, or it does not work."""
    from rag_vqa.prompts import builder

    try:
        builder.check_template(settings.prompt.template, settings.prompt.language)
    except Missing as error:
        raise UsageError(f"--template: {error}") from error


def check_filter(settings: Settings) -> None:
    """Raises UsageError if what is said about the filter would change nothing."""
    said = settings.filter.model_fields_set
    if said and "name" not in said:
        raise UsageError(f"filter.{min(said)} is of the critic: use it, --filter critic")
    if settings.filter.name != "none" and not settings.k:
        raise UsageError("--filter chooses among what is found, and -k 0 finds nothing: give one.")


def load_encoder(
    settings: Settings,
    model: str,
    commit: str | None,
    built_with: Mapping[str, str | bool] | None = None,
) -> Encoder:
    """The retriever `model` as the settings say; `built_with`, of a knowledge base, goes before."""
    from rag_vqa.retriever.image_workers import default_workers
    from rag_vqa.retriever.modeling.encoder import Encoder

    asked = settings.retriever
    shaping: dict[str, Any] = {
        "dtype": asked.dtype,
        "tokenizer": asked.tokenizer,
        "image_processor": asked.image_processor,
        "parity": asked.parity,
    }
    return Encoder.load(
        model,
        revision=commit,
        device=asked.device,
        batch_size=asked.batch_size,
        workers=default_workers() if asked.workers is None else asked.workers,
        offline=settings.offline,
        **shaping | dict(built_with or {}),
    )


def make_query(settings: Settings, text: str, image: ImageSource | None) -> Query:
    """The query, with the instruction that was asked for."""
    from rag_vqa.types import Query

    return Query(text, image, settings.retriever.instruction)


def check_models(
    models: list[ModelRevision],
    settings: Settings,
    yes: bool,
    built_with: Mapping[str, str | bool] | None = None,
) -> None:
    """Every model is here, or its download was agreed to. See `ask_before_download`.

    A retriever's tokenizer and image processor too, unless others are named, by the settings or by
    a knowledge base (`built_with`).
    """
    asked = settings.retriever
    named = built_with or {}
    given = [getattr(asked, x) or named.get(x) for x in ("tokenizer", "image_processor")]
    if not all(given):
        models = [*models, *((processor_source(m), None) for m, _ in models if processor_source(m))]
    for model, _ in models:
        if model.startswith(("/", ".", "~")) and not Path(model).is_dir():
            raise Missing(f"{model}: no such folder. Give a model's folder, a hub id, or demo.")
    ask_before_download(models, offline=settings.offline, yes=yes)


def _open_folder(
    path: Path, encoder: Encoder | Callable[[], Encoder] | None = None
) -> KnowledgeBase:
    from rag_vqa.retriever.knowledge_base import KnowledgeBase
    from rag_vqa.retriever.store.database import DATABASE_FILE

    build = "rag-vqa kb build SOURCE --out"
    if not (
        require_path(path, "knowledge base", f"Build one: {build} {path}") / DATABASE_FILE
    ).is_file():
        kind = "a folder without one" if path.is_dir() else "a file"
        raise UsageError(f"{path}: no knowledge base, but {kind}. Build one: {build} NAME")
    return KnowledgeBase.open(path, encoder)


def _retriever_of(
    run: CommandContext, manifest: Manifest, settings: Settings, path: Path
) -> ModelRevision:
    """What made the knowledge base; naming another one is refused before it is loaded."""
    built: ModelRevision = (manifest.source, manifest.revision or None)
    asked = settings.retriever.model
    _check_revision(settings)
    _check_options(settings, manifest, path)
    if asked is None:
        return built
    named: ModelRevision = (asked, known_revision(asked, settings.retriever.revision))
    if _is_same_model(model_source(asked, "retriever"), model_source(built[0], "retriever")):
        return named
    if "model" not in settings.retriever.model_fields_set:
        run.note(f"{path} was built with {_model_label(built)}: that one is used, not the preset's")
        return built
    raise Mismatch(
        f"{path} was built with {_model_label(built)}, asked for {_model_label(named)}. "
        f"Leave out --retriever, "
        f"or rebuild: rag-vqa kb build SOURCE --out OTHER --retriever {one_line(asked)}"
    )


def _check_revision(settings: Settings) -> None:
    commit = settings.retriever.revision
    if commit and settings.retriever.model is None:
        raise UsageError(f"retriever.revision = {commit}: of which model? Name it: --retriever")


def _check_options(settings: Settings, manifest: Manifest, path: Path) -> None:
    """What shapes documents stays as the knowledge base was built: asking for other is refused."""
    asked = settings.retriever
    built: dict[str, object] = {"dtype": "float32", "parity": False, **manifest.options}
    for name in sorted(asked.model_fields_set & built.keys()):
        wanted = getattr(asked, name)
        if wanted != built[name]:
            raise Mismatch(
                f"{path} was built with retriever.{name} = {built[name]}, asked for {wanted}. "
                "Leave it out, or build another knowledge base with it"
            )


def _is_same_model(first: str, second: str) -> bool:
    """Whether two sources are one model: by name, or by what lies in two folders."""
    one, other = Path(first), Path(second)
    if not (one.is_dir() and other.is_dir()):
        return first == second
    names = {file.name for file in (*one.glob("*.safetensors"), *other.glob("*.safetensors"))}
    compared = filecmp.cmpfiles(one, other, [*names, "config.json"], shallow=False)
    return not compared[1] and not compared[2]


def _model_label(model: ModelRevision) -> str:
    name, commit = model
    return one_line(Path(name).name if Path(name).is_dir() else name) + (
        f"@{commit}" if commit else ""
    )


def reader_models(settings: Settings) -> list[ModelRevision]:
    """The reader's model, named or embedded, whose download is to be confirmed; none with servers.

    Raises:
        UsageError: a setting of another reader back end, or servers without a model.
    """
    from rag_vqa.readers.factory import find_backend

    reader = settings.reader
    backend = find_backend(reader.model, reader.servers)
    own = ("model", "servers", "device")  # --device is the retriever's as well
    backend.check_options(name for name in reader.model_fields_set if name not in own)
    model = backend.require_model(reader.model)
    return [(model, known_revision(model, reader.revision))] if backend.loads_weights else []


def reader_options(settings: Settings) -> dict[str, Any]:
    """Keyword arguments of `open_reader` from the settings, without the model."""
    from rag_vqa.readers.factory import find_backend

    options = find_backend(settings.reader.model, settings.reader.servers).options
    own = {name: value for name, value in settings.reader if name in (*options, "servers")}
    return own | ({"offline": settings.offline} if "offline" in options else {})


def make_pipeline(settings: Settings, kb: KnowledgeBase | Path) -> RagVqa:
    """A RagVqa over a knowledge base, open or by its path, as the settings say."""
    from rag_vqa.critic import Critic
    from rag_vqa.pipeline import RagVqa

    chosen = settings.filter
    rag = RagVqa(
        kb,
        settings.reader.model if settings.reader.servers else settings.reader.model or EMBEDDED,
        k=settings.k,
        template=settings.prompt.template,
        language=settings.prompt.language,
        **reader_options(settings),
    )
    if chosen.name == "critic":
        rag.filter = Critic(lambda: rag.reader, threshold=chosen.threshold, top=chosen.top)
    return rag
