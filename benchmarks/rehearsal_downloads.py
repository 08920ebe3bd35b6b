"""The downloads of the rehearsal: cut, killed, resumed, from a mirror, refused, and a full disk.

Knows what goes wrong on the way to a model, and what the hub saw of it. Does not know what the
models are for (rehearsal.py).
"""

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hub import Fault, Hub
from rehearsal_models import READER, RETRIEVER, TOWERS, Sizes, write_reader, write_retriever
from rehearsal_process import Cost, measure
from rehearsal_tokenizers import write_clip, write_qwen

from rag_vqa.checkpoints import CHECKPOINTS

PREFIX = "/mirrors/models"  # of the mirror: paths of companies' mirrors have one
NOBODY = "hf_a_token_without_access"


@dataclass
class Downloads:
    """Folders and hubs of one rehearsal; its methods are steps.

    Attributes:
        work: where everything is written.
        sizes: of the models.
        rag_vqa: the command line of the program.
        shard: bytes of a shard in the mirror.
    """

    work: Path
    sizes: Sizes
    rag_vqa: list[str]
    shard: float
    empty: int = 1_710_540_580  # bytes of weights of the towers, which nobody should download
    _hubs: list[Hub] = field(default_factory=list)

    @property
    def home(self) -> Path:
        return self.work / "home"

    @cached_property
    def hub(self) -> Hub:
        """The hub over what `write` wrote, started when it is first needed."""
        self.write()
        commits = {READER: CHECKPOINTS[READER].revision or ""}
        return self._start(Hub.of(self.work / "served", commits, tokens={NOBODY: frozenset()}))

    def close(self) -> None:
        for hub in self._hubs:
            hub.__exit__()

    def _start(self, hub: Hub) -> Hub:
        self._hubs.append(hub.__enter__())
        return hub

    def write(self) -> dict[str, Any]:
        """Checkpoints of the true layouts; what is there already stays."""
        served = self.work / "served"
        for model, parts in (
            (READER, (write_reader, write_qwen)),
            (RETRIEVER, (write_retriever,)),
            (TOWERS, (lambda path, sizes: write_clip(path, sizes, self.empty),)),
        ):
            if not (served / model).is_dir():
                half = self.work / "half-written"
                shutil.rmtree(half, ignore_errors=True)
                for write in parts:
                    write(half, self.sizes)
                (served / model).parent.mkdir(parents=True, exist_ok=True)
                half.rename(served / model)
        return {model: _folder_bytes(served / model) for model in (READER, RETRIEVER)}

    def pull(self) -> dict[str, Any]:
        """The preset: cut at 30% of the reader, killed at 60%, and run once more."""
        hub, path = self.hub, f"/cdn/{READER}/*.safetensors"
        size = hub.models[READER].files["model.safetensors"].size
        third = int(0.3 * size)
        hub.faults = [Fault(kind, path, times=1, after=third, methods=("GET",))
                      for kind in ("cut", "stall")]  # fmt: skip
        shutil.rmtree(self.home, ignore_errors=True)
        before = hub.sent(), hub.sent(path), hub.sent(f"*/{TOWERS}/*model*")
        killed = self._pull("laptop", kill_when=lambda: hub.sent(path) - before[1] >= 2 * third)
        hub.faults = []
        resumed = self._pull("laptop")
        again = hub.sent()
        once_more = self._pull("laptop")
        check(resumed, 0)
        check(once_more, 0)
        return {
            "killed": killed.code, "seconds_until_killed": round(killed.seconds, 1),
            "seconds_of_the_rest": round(resumed.seconds, 1),
            "bytes_sent": again - before[0], "reader_bytes": size,
            "reader_bytes_sent_again": hub.sent(path) - before[1] - size,
            "unwanted_bytes": hub.sent(f"*/{TOWERS}/*model*") - before[2],
            "bytes_of_a_pull_when_all_is_there": hub.sent() - again,
            "peak_bytes": max(killed.peak, resumed.peak),
        }  # fmt: skip

    def mirror(self) -> dict[str, Any]:
        """The retriever in shards, from a mirror below a path: the same model as in one file."""
        served, home = self.work / "mirror", self.work / "mirror-home"
        if not (served / TOWERS).is_dir():
            write_retriever(served / RETRIEVER, self.sizes, largest=self.shard)
            write_clip(served / TOWERS, self.sizes)
        hub = self._start(Hub.of(served, prefix=PREFIX))
        pulled = self._pull(RETRIEVER, hub=hub, home=home)
        check(pulled, 0)
        shards = [name for name in hub.models[RETRIEVER].files if name.endswith(".safetensors")]
        script = (
            "from rag_vqa.retriever.modeling.encoder import Encoder\n"
            f"print(Encoder.load({RETRIEVER!r}, device='cpu').fingerprint)"
        )
        prints = {
            measure(
                [self.rag_vqa[0], "-c", script],
                hub.environment(place) | {"HF_HUB_OFFLINE": "1"},
            ).out.strip()
            for place in (self.home, home)
        }
        return {
            "seconds": round(pulled.seconds, 1), "shards": len(shards),
            "bytes_sent": hub.sent(),
            "same_model_as_in_one_file": len(prints) == 1 and "" not in prints,
        }  # fmt: skip

    def refusals(self) -> dict[str, Any]:
        """What the program says when the hub refuses: exit code, seconds, and its last line."""
        hub = self.hub
        reader = hub.models[READER]
        said: dict[str, Any] = {}

        def attempt(name: str, model: str = READER, token: str = "", **more: Any) -> None:
            home = self.work / "refused-home"
            shutil.rmtree(home, ignore_errors=True)
            said[name] = self._describe(self._pull(model, home=home, token=token, **more))
            hub.faults, reader.gated = [], False

        reader.gated = True
        attempt("401, gated, without a token")
        reader.gated = True
        attempt("403, gated, with a token", token=NOBODY)
        attempt("401, a token that is no token", token="hf_mistyped")
        attempt("404, no such model", model="aimagelab/ReT-CLIP-ViT-L-15")
        for status in (429, 503):
            hub.faults = [Fault("status", "/api/*", status=status, retry_after=1)]
            attempt(f"{status}")
        hub.faults = [Fault("page")]
        attempt("a login page")
        attempt("no hub there", variables={"HF_ENDPOINT": "http://127.0.0.1:9"})
        return said

    def full_disk(self) -> dict[str, Any]:
        """A disk that is too small from the beginning, and one that fills on the way."""
        said: dict[str, Any] = {}
        with _small_disk(self.work / "disk", "1m") as disk:
            if disk is None:
                return {"not tried": "mounting a small disk needs root"}
            before = self.hub.sent("/cdn/*")
            said["too small"] = self._describe(self._pull(RETRIEVER, home=disk))
            said["too small"]["bytes_of_weights_sent"] = self.hub.sent("/cdn/*") - before
        with _small_disk(self.work / "disk", "300m") as disk:
            files, sizes = f"*resolve-cache*{TOWERS}*", self.hub.models[TOWERS].files
            before, whole = self.hub.sent(files), sizes["vocab.json"].size
            self.hub.faults = [Fault("slow", files, rate=whole / 2)]

            def fill() -> bool:
                if disk is not None and self.hub.sent(files) > before:
                    with suppress(OSError), (disk / "others").open("ab", 0) as stream:
                        while stream.write(b"0" * 10**6):
                            pass
                return False

            said["fills"] = self._describe(self._pull(TOWERS, home=disk, kill_when=fill))
            self.hub.faults = []
        return said

    def _pull(
        self, model: str, hub: Hub | None = None, home: Path | None = None, token: str = "",
        variables: Mapping[str, str] = MappingProxyType({}), **more: Any,
    ) -> Cost:  # fmt: skip
        seen = (hub or self.hub).environment(home or self.home, token)
        command = [*self.rag_vqa, "models", "pull", model, "--yes"]
        return measure(command, seen | dict(variables), **more)

    def _describe(self, cost: Cost) -> dict[str, Any]:
        says = cost.last_line.replace(str(self.work), "WORK")
        return {"code": cost.code, "seconds": round(cost.seconds, 1), "says": says}


def check(cost: Cost, code: int) -> Cost:
    """The cost, if the command ended as it should."""
    if cost.code != code:
        raise RuntimeError(f"exit code {cost.code}, expected {code}: {cost.err[-2000:]}")
    return cost


def _folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@contextmanager
def _small_disk(place: Path, size: str) -> Iterator[Path | None]:
    """A file system of this size at `place`; None where this user may not mount one."""
    place.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        yield None
        return
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)
