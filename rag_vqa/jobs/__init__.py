"""What the verbs do, as functions: each job takes a dataclass of options and a reporter.

    from rag_vqa.jobs import AddOptions, SourceOptions, add_documents

Importing this loads nothing else: each name is loaded when it is first used. A job is not called
like its module, because a package can hold only one of the two under a name.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rag_vqa.jobs.build import AddOptions as AddOptions
    from rag_vqa.jobs.build import BuildOptions as BuildOptions
    from rag_vqa.jobs.build import BuildReport as BuildReport
    from rag_vqa.jobs.build import add_documents as add_documents
    from rag_vqa.jobs.build import build_knowledge_base as build_knowledge_base
    from rag_vqa.jobs.document_source import Shard as Shard
    from rag_vqa.jobs.document_source import SourceOptions as SourceOptions
    from rag_vqa.jobs.models import open_pipeline as open_pipeline
    from rag_vqa.jobs.ray_cluster import build_on_cluster as build_on_cluster
    from rag_vqa.jobs.sharded_build import build_on_devices as build_on_devices
    from rag_vqa.jobs.signals import Stopped as Stopped
    from rag_vqa.jobs.sync import SyncOptions as SyncOptions
    from rag_vqa.jobs.sync import SyncSummary as SyncSummary
    from rag_vqa.jobs.sync import sync_knowledge_base as sync_knowledge_base

_HOME = {
    "AddOptions": "build",
    "BuildOptions": "build",
    "BuildReport": "build",
    "Shard": "document_source",
    "SourceOptions": "document_source",
    "Stopped": "signals",
    "SyncOptions": "sync",
    "SyncSummary": "sync",
    "add_documents": "build",
    "build_knowledge_base": "build",
    "build_on_cluster": "ray_cluster",
    "build_on_devices": "sharded_build",
    "open_pipeline": "models",
    "sync_knowledge_base": "sync",
}
__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'rag_vqa.jobs' has no attribute {name!r}")
    return getattr(import_module(f"rag_vqa.jobs.{_HOME[name]}"), name)
