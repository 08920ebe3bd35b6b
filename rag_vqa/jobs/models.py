"""From settings to opened models: knowledge base, retriever, reader, pipeline.

Knows in which order mistakes can be found cheaply: everything is checked before a model loads. Does
not know any verb, nor how a model is loaded (retriever/, readers/).
"""

from __future__ import annotations

import filecmp
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag_vqa.checkpoints import EMBEDDED, known_revision, model_source, processor_source
from rag_vqa.demo_limits import check_pair, name_reader, names_retriever
from rag_vqa.errors import Mismatch, Missing, UsageError
from rag_vqa.formatting import one_line
from rag_vqa.jobs.download_consent import ModelRevision, ask_before_download
from rag_vqa.progress import LOG, Reporter

if TYPE_CHECKING:
    from rag_vqa.pipeline import RagVqa
    from rag_vqa.retriever.knowledge_base import KnowledgeBase
    from rag_vqa.retriever.modeling.encoder import Encoder
    from rag_vqa.retriever.store.kb_manifest import Manifest
    from rag_vqa.settings_schema import Settings
    from rag_vqa.types import ImageSource, Query, Where

# Options of the document side that a knowledge base was built with, by the name of their setting.
BuiltWith = Mapping[str, str | bool]


def open_pipeline(
    settings: Settings,
    path: Path,
    reporter: Reporter = LOG,
    *,
    where: Where | None = None,
    yes: bool = False,
    read: bool = True,
    warm: bool = True,
) -> RagVqa:
    """Open a pipeline over the knowledge base at `path`; its reader loads at the first question.

    Args:
        where: the metadata filter of the searches to come, to check its names now.
        yes: download missing models without asking.
        read: False: only search, so that no reader is needed.
        warm: False: the retriever, too, loads when it is first needed.

    Raises:
        UsageError, Mismatch: settings that do not go together; raised before any model loads.
        Missing: a model is not on this machine, and its download was refused.
    """
    from rag_vqa.retriever.index import check_engine

    if read:
        check_template(settings)
        check_filter(settings)
    if where and not settings.k:
        raise UsageError("--where needs retrieval, and -k 0 turns it off. Leave out one of them.")
    kb = open_knowledge_base(path)
    asked = settings
    settings = name_reader(asked, kb) if read else asked
    wanted: list[ModelRevision] = []
    if settings.k:
        check_engine(settings.retriever.index)
        kb.search([], settings.k, where)  # checks the names of the filter
        wanted.append(_retriever_of(kb.manifest, settings, path, reporter))
    if read:
        wanted += reader_models(settings)
    check_pair(settings, kb, reporter, read, is_default=settings is not asked)
    check_models(wanted, settings, reporter, yes=yes, built_with=kb.manifest.options)
    if settings.k:
        kb.close()
        built_with = kb.manifest.options
        kb = open_knowledge_base(path, lambda: load_encoder(settings, *wanted[0], built_with))
        if warm:
            kb.encoder  # noqa: B018  loads it
        search = settings.retriever
        kb.engine, kb.hybrid, kb.sections = search.index, search.hybrid, search.sections
        kb.show_names = resolve_show(settings, kb, reporter)
        choice = kb.retriever.choice
        if choice.engine != "exact" or "slow" in choice.reason:
            reporter.note(choice.reason)
    return make_pipeline(settings, kb, read)


def without_automatic_words(settings: Settings) -> Settings:
    """The settings for figures: words are searched only if a setting says so.

    Figures measured before searches used words by themselves stay comparable, and runs resume.
    """
    asked = settings.retriever
    if "hybrid" in asked.model_fields_set:
        return settings
    plain = asked.model_copy(update={"hybrid": False})
    return settings.model_copy(update={"retriever": plain})


def make_pipeline(settings: Settings, kb: KnowledgeBase | Path, read: bool = True) -> RagVqa:
    """A pipeline over an open knowledge base, or over its path, according to the settings.

    If they name no reader, it is the embedded one. `read`: False: it only searches, with any
    retriever.
    """
    from rag_vqa.critic import Critic
    from rag_vqa.pipeline import RagVqa

    reader, chosen = settings.reader, settings.filter
    is_free = names_retriever(settings) or not read
    named = kb.manifest.source if is_free and not isinstance(kb, Path) else None
    rag = RagVqa(
        kb,
        reader.model if reader.servers else reader.model or EMBEDDED,
        k=settings.k,
        retriever=named,
        template=settings.prompt.template,
        language=settings.prompt.language,
        **reader_options(settings),
    )
    if chosen.name == "critic":
        rag.filter = Critic(lambda: rag.reader, threshold=chosen.threshold, top=chosen.top)
    return rag


def resolve_show(
    settings: Settings, kb: KnowledgeBase, reporter: Reporter = LOG
) -> list[str] | None:
    """The metadata that the settings ask to show; None if they leave it to the knowledge base.

    Reports names that no document has.
    """
    from rag_vqa.retriever.shown_metadata import describe_unknown, resolve_names

    if settings.metadata.show is None:
        return None
    known = kb.store.metadata_names()
    names, unknown = resolve_names(settings.metadata.show, known)
    for line in describe_unknown(unknown, known):
        reporter.note(line)
    return names


def open_knowledge_base(
    path: Path, encoder: Encoder | Callable[[], Encoder] | None = None
) -> KnowledgeBase:
    """Open the knowledge base at `path`, by default without its retriever.

    Raises:
        UsageError: no knowledge base is there; the message says how to build one.
    """
    from rag_vqa.retriever.knowledge_base import KnowledgeBase
    from rag_vqa.retriever.store.database import DATABASE_FILE

    build = "rag-vqa kb build SOURCE --out"
    if not path.exists():
        raise UsageError(f"{path}: no such knowledge base. Build one: {build} {path}")
    if not (path / DATABASE_FILE).is_file():
        found = "a folder without a knowledge base" if path.is_dir() else "a file"
        raise UsageError(f"{path} is {found}. Build one: {build} NAME")
    kb = KnowledgeBase.open(path, encoder)
    kb.warns = False  # each verb says it in its own way
    return kb


def open_for_writing(
    settings: Settings, path: Path, reporter: Reporter = LOG, *, yes: bool = False
) -> KnowledgeBase:
    """Open the knowledge base at `path` to change it; its retriever loads when first needed.

    Raises:
        Locked: another process writes it.
        UsageError, Mismatch, Missing: as `open_pipeline`.
    """
    kb = open_knowledge_base(path)
    check_not_locked(path)
    built = _retriever_of(kb.manifest, settings, path, reporter)
    built_with = kb.manifest.options
    kb.close()
    check_models([built], settings, reporter, yes=yes, built_with=built_with)
    return open_knowledge_base(path, lambda: load_encoder(settings, *built, built_with))


def check_not_locked(path: Path) -> None:
    """Raise Locked if another process writes the knowledge base at `path`.

    Called before minutes are spent on a source.
    """
    from rag_vqa.retriever.store.database import DATABASE_FILE
    from rag_vqa.storage import lock

    if (path / DATABASE_FILE).exists():
        with lock.hold_lock(path):
            pass


def choose_retriever(
    settings: Settings,
    out: Path,
    reporter: Reporter = LOG,
    *,
    split: str | None = None,
    keep_tokens: bool | None = None,
) -> tuple[ModelRevision, BuiltWith]:
    """The retriever to build `out` with: its own if it exists, else the one of the settings.

    Returns: the model, and the options that the existing knowledge base was built with.

    Raises:
        UsageError, Mismatch: as `open_pipeline`, and for other options than it was built with.
    """
    from rag_vqa.retriever.store.database import DATABASE_FILE
    from rag_vqa.retriever.store.kb_manifest import check_build_options

    if (out / DATABASE_FILE).exists():
        check_not_locked(out)
        with open_knowledge_base(out) as kb:
            check_build_options(out, kb.manifest, split, keep_tokens)
            return _retriever_of(kb.manifest, settings, out, reporter), kb.manifest.options
    asked = settings.retriever
    _check_revision(settings)
    return (asked.model or EMBEDDED, known_revision(asked.model, asked.revision)), {}


def load_encoder(
    settings: Settings, model: str, commit: str | None, built_with: BuiltWith | None = None
) -> Encoder:
    """Load a retriever; the options of a knowledge base (`built_with`) go before the settings."""
    from rag_vqa.retriever.image_workers import default_workers
    from rag_vqa.retriever.modeling.encoder import Encoder

    asked = settings.retriever
    document_side: dict[str, Any] = {
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
        **document_side | dict(built_with or {}),
    )


def make_query(settings: Settings, text: str, image: ImageSource | None) -> Query:
    """A query with the instruction of the settings."""
    from rag_vqa.types import Query

    return Query(text, image, settings.retriever.instruction)


def check_models(
    models: Sequence[ModelRevision],
    settings: Settings,
    reporter: Reporter = LOG,
    *,
    yes: bool = False,
    built_with: BuiltWith | None = None,
) -> None:
    """Return if every model is on this machine, or its download is agreed to.

    The tokenizer and image processor of a retriever count as well, unless the settings or the
    knowledge base (`built_with`) name others. See `ask_before_download`.
    """
    named = built_with or {}
    own = [getattr(settings.retriever, x) or named.get(x) for x in ("tokenizer", "image_processor")]
    if not all(own):
        sources = (processor_source(model) for model, _ in models)
        models = [*models, *((source, None) for source in sources if source)]
    for model, _ in models:
        if model.startswith(("/", ".", "~")) and not Path(model).is_dir():
            raise Missing(f"{model}: no such folder. Give a model's folder, a hub id, or demo.")
    ask_before_download(models, reporter, offline=settings.offline, yes=yes)


def check_template(settings: Settings) -> None:
    """Raise UsageError if the template does not exist or does not work."""
    from rag_vqa.prompts import builder

    try:
        builder.check_template(settings.prompt.template, settings.prompt.language)
    except Missing as error:
        raise UsageError(f"--template: {error}") from error


def check_filter(settings: Settings) -> None:
    """Raise UsageError if a setting of the filter would have no effect."""
    given = settings.filter.model_fields_set
    if given and "name" not in given:
        raise UsageError(f"filter.{min(given)} needs the critic. Add: --filter critic")
    if settings.filter.name != "none" and not settings.k:
        raise UsageError(
            "--filter selects among retrieved documents, and -k 0 retrieves none. Leave out one."
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


def _retriever_of(
    manifest: Manifest, settings: Settings, path: Path, reporter: Reporter
) -> ModelRevision:
    """The retriever that built a knowledge base; settings that name another one are refused."""
    built: ModelRevision = (manifest.source, manifest.revision or None)
    asked = settings.retriever.model
    _check_revision(settings)
    _check_document_side(settings, manifest, path)
    if asked is None:
        return built
    named: ModelRevision = (asked, known_revision(asked, settings.retriever.revision))
    if _is_same_model(model_source(asked, "retriever"), model_source(built[0], "retriever")):
        return named
    if "model" not in settings.retriever.model_fields_set:
        reporter.note(
            f"{path} was built with {_model_label(built)}: using it instead of the preset's"
        )
        return built
    raise Mismatch(
        f"{path} was built with {_model_label(built)}, but --retriever asks for "
        f"{_model_label(named)}. Leave out --retriever, or rebuild: rag-vqa kb build SOURCE "
        f"--out OTHER --retriever {one_line(asked)}"
    )


def _check_revision(settings: Settings) -> None:
    revision = settings.retriever.revision
    if revision and settings.retriever.model is None:
        raise UsageError(
            f"retriever.revision = {revision} needs a model. Name it as well: --retriever"
        )


def _check_document_side(settings: Settings, manifest: Manifest, path: Path) -> None:
    """Refuse options of the document side that differ from those the knowledge base has."""
    asked = settings.retriever
    built: dict[str, object] = {"dtype": "float32", "parity": False, **manifest.options}
    for name in sorted(asked.model_fields_set & built.keys()):
        wanted = getattr(asked, name)
        if wanted != built[name]:
            raise Mismatch(
                f"{path} was built with retriever.{name} = {built[name]}, but the settings ask "
                f"for {wanted}. Leave it out, or build another knowledge base with it"
            )


def _is_same_model(first: str, second: str) -> bool:
    """True if two sources are one model: by name, or because two folders hold the same files."""
    one, other = Path(first), Path(second)
    if not (one.is_dir() and other.is_dir()):
        return first == second
    names = {file.name for file in (*one.glob("*.safetensors"), *other.glob("*.safetensors"))}
    _, differing, unreadable = filecmp.cmpfiles(one, other, [*names, "config.json"], shallow=False)
    return not differing and not unreadable


def _model_label(model: ModelRevision) -> str:
    name, commit = model
    shown = one_line(Path(name).name if Path(name).is_dir() else name)
    return f"{shown}@{commit}" if commit else shown
