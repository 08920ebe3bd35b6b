"""What the verbs do, as functions: each job takes a dataclass of options and a reporter.

See docs/python.md. Importing this loads nothing else: each name is loaded when it is first used. A
job is not called like its module, because a package can hold only one of the two under a name.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rag_vqa.jobs.build import AddOptions as AddOptions
    from rag_vqa.jobs.build import BuildOptions as BuildOptions
    from rag_vqa.jobs.build import BuildReport as BuildReport
    from rag_vqa.jobs.build import add_documents as add_documents
    from rag_vqa.jobs.build import build_knowledge_base as build_knowledge_base
    from rag_vqa.jobs.compare import compare_runs as compare_runs
    from rag_vqa.jobs.diagnosis import check_machine as check_machine
    from rag_vqa.jobs.document_source import Shard as Shard
    from rag_vqa.jobs.document_source import SourceOptions as SourceOptions
    from rag_vqa.jobs.evaluate import EvaluationOptions as EvaluationOptions
    from rag_vqa.jobs.evaluate import run_evaluation as run_evaluation
    from rag_vqa.jobs.memory_fit import predict_fit as predict_fit
    from rag_vqa.jobs.mine import MiningOptions as MiningOptions
    from rag_vqa.jobs.mine import run_mining as run_mining
    from rag_vqa.jobs.models import open_pipeline as open_pipeline
    from rag_vqa.jobs.ray_cluster import build_on_cluster as build_on_cluster
    from rag_vqa.jobs.score import PredictionOptions as PredictionOptions
    from rag_vqa.jobs.score import score_predictions as score_predictions
    from rag_vqa.jobs.score import score_run as score_run
    from rag_vqa.jobs.serve import ServeOptions as ServeOptions
    from rag_vqa.jobs.serve import serve_knowledge_base as serve_knowledge_base
    from rag_vqa.jobs.sharded_build import build_on_devices as build_on_devices
    from rag_vqa.jobs.signals import JobStopped as JobStopped
    from rag_vqa.jobs.sync import SyncOptions as SyncOptions
    from rag_vqa.jobs.sync import SyncSummary as SyncSummary
    from rag_vqa.jobs.sync import sync_knowledge_base as sync_knowledge_base
    from rag_vqa.jobs.train import TrainingOptions as TrainingOptions
    from rag_vqa.jobs.train import run_training as run_training
    from rag_vqa.jobs.tune import TuningOptions as TuningOptions
    from rag_vqa.jobs.tune import run_query_tuning as run_query_tuning

_HOME = {
    "AddOptions": "build",
    "BuildOptions": "build",
    "BuildReport": "build",
    "EvaluationOptions": "evaluate",
    "JobStopped": "signals",
    "MiningOptions": "mine",
    "PredictionOptions": "score",
    "ServeOptions": "serve",
    "Shard": "document_source",
    "SourceOptions": "document_source",
    "SyncOptions": "sync",
    "SyncSummary": "sync",
    "TrainingOptions": "train",
    "TuningOptions": "tune",
    "add_documents": "build",
    "build_knowledge_base": "build",
    "build_on_cluster": "ray_cluster",
    "build_on_devices": "sharded_build",
    "check_machine": "diagnosis",
    "compare_runs": "compare",
    "open_pipeline": "models",
    "predict_fit": "memory_fit",
    "run_evaluation": "evaluate",
    "run_mining": "mine",
    "run_query_tuning": "tune",
    "run_training": "train",
    "score_predictions": "score",
    "score_run": "score",
    "serve_knowledge_base": "serve",
    "sync_knowledge_base": "sync",
}
__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'rag_vqa.jobs' has no attribute {name!r}")
    return getattr(import_module(f"rag_vqa.jobs.{_HOME[name]}"), name)
