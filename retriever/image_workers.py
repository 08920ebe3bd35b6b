"""Image workers: processes that open pictures ahead of the model, and resize and crop them.

Knows processes, and the first steps of a CLIP image processor. Does not know models or documents:
a worker imports this module and Pillow, and no torch.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.context import SpawnContext, SpawnProcess
from types import TracebackType
from typing import Any, Self

from PIL import Image

from rag_vqa import images

# A picture takes milliseconds, the worst that images.py lets through a few seconds.
STUCK_SECONDS = 60.0
_MAX_WORKERS = 8  # workers by default: one model seldom takes more pictures than these bring

_LARGE_PIXELS = 8_000_000  # pixels

PendingImage = Callable[[], Image.Image]


@dataclass(frozen=True, slots=True)
class ImageTransform:
    """How pictures are opened for one image processor.

    A picture so opened goes through the whole processor to the pixels, byte for byte, that it
    would have had otherwise; only it is small by then, and can wait.

    Attributes:
        exif: turn it upright.
        size: (height, width) that all of it becomes; None where `edge` is given, or neither.
        edge: what its shorter side becomes; the middle square is kept if `square`.
        resample: Pillow's number of the filter.
    """

    exif: bool = True
    size: tuple[int, int] | None = None
    edge: int | None = None
    square: bool = False
    resample: int = Image.Resampling.BICUBIC

    @classmethod
    def of(cls, processor: Any, *, exif: bool) -> Self:
        """That of a Hugging Face CLIP image processor. What resizes in a way that CLIP's never
        did is left to the processor: then pictures wait as large as they are."""
        size = processor.size
        edge, fixed = size.shortest_edge, (size.height, size.width)
        if not processor.do_resize or size.longest_edge or not (edge or all(fixed)):
            return cls(exif)
        if not edge:
            return cls(exif, fixed, resample=int(processor.resample))
        crop = processor.crop_size
        square = bool(processor.do_center_crop) and (crop.height, crop.width) == (edge, edge)
        return cls(exif, None, edge, square, int(processor.resample))

    def open(self, data: bytes, name: str) -> Image.Image:
        """The picture of a file's bytes, small; `name` is what errors call it. Raises BadImage."""
        return self.small(images.load(data, exif=self.exif, name=name))

    def small(self, picture: Image.Image) -> Image.Image:
        """What the processor's resizing and cropping leave of a picture."""
        if self.size is None and self.edge is None:
            return picture
        filter_ = Image.Resampling(self.resample)
        width, height = self.resized(*picture.size)
        if self.edge is None or not self.square:
            return picture.resize((width, height), filter_)
        left, top = (width - self.edge) // 2, (height - self.edge) // 2
        right, bottom = left + self.edge, top + self.edge
        if width * height > _LARGE_PIXELS:
            return self._middle(picture, (left, top, right, bottom), width, height)
        return picture.resize((width, height), filter_).crop((left, top, right, bottom))

    def resized(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of a picture after resizing, before its middle is cut out."""
        if self.size is not None:
            return self.size[1], self.size[0]
        if self.edge is None:
            return width, height
        short, long = sorted((width, height))
        ends = self.edge, int(self.edge * long / short)  # rounded down, as the processor does
        return ends if width <= height else ends[::-1]

    def _middle(
        self, picture: Image.Image, square: tuple[int, int, int, int], width: int, height: int
    ) -> Image.Image:
        """The square out of a strip enlarged to (width, height), without enlarging all of it: 1 ×
        10,000 would become 1.5 GB. In Pillow's own order, for the same bytes: across, then down.
        """
        left, top, right, bottom = square
        x, y = picture.width / width, picture.height / height
        # What no filter reaches is cut off first; Lanczos, the widest, reaches 3 pixels.
        first, last = max(0, int(top * y) - 4), min(picture.height, int(bottom * y) + 5)
        picture = picture.crop((0, first, picture.width, last))
        filter_, edge = Image.Resampling(self.resample), right - left
        picture = picture.resize(
            (edge, picture.height), filter_, (left * x, 0, right * x, picture.height)
        )
        return picture.resize((edge, edge), filter_, (0, top * y - first, edge, bottom * y - first))


class _RecordingContext(SpawnContext):
    """Knows every process it makes before that starts. A pool starts its own one by one, as jobs
    come, and a signal may end the call that has just started one."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[SpawnProcess] = []

    def Process(self, *args: Any, **options: Any) -> SpawnProcess:  # type: ignore[override]
        process = SpawnProcess(*args, **options)
        self.made.append(process)
        return process


class ImageOpener:
    """Opens pictures, in `workers` processes or, where that is 0, in this one. `with` ends them.

    They start with the first picture. Where one of them dies or is stuck, all are ended and the
    rest is opened here, which is said once.
    """

    def __init__(self, opening: ImageTransform, workers: int = 0) -> None:
        self._opening, self.workers = opening, workers
        self._pool: ProcessPoolExecutor | None = None
        # spawn: torch has threads by now, and a forked child may inherit a lock that they hold
        self._context = _RecordingContext()

    def begin(self, data: bytes, name: str) -> PendingImage:
        """Begin to open a picture; what is returned waits for it, and raises BadImage.

        Without workers it is opened now, and BadImage is raised now.
        """
        if not self.workers:
            picture = self._opening.open(data, name)
            return lambda: picture
        try:
            future = self._submit(data, name)
        except (BrokenProcessPool, OSError) as error:
            self._give_up(error)
            return self.begin(data, name)
        return lambda: self._wait(future, data, name)

    def _wait(self, future: Future[Image.Image], data: bytes, name: str) -> Image.Image:
        try:
            return future.result(timeout=STUCK_SECONDS if self.workers else 0)
        except (BrokenProcessPool, TimeoutError, CancelledError) as error:
            self._give_up(error)
        return self._opening.open(data, name)

    def _submit(self, data: bytes, name: str) -> Future[Image.Image]:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(self.workers, self._context, _init_worker)
        return self._pool.submit(_open_image, self._opening, data, name)

    def _give_up(self, error: Exception) -> None:
        if self.workers:
            reason = "is stuck" if isinstance(error, TimeoutError) else "has ended"
            warnings.warn(
                f"a process that opens pictures {reason}: they are opened one by one from here on, "
                "more slowly. If memory ran out, give fewer: --workers 2",
                stacklevel=2,
            )
        self.close()
        self.workers = 0

    def close(self) -> None:
        """End the processes at once, whatever they are at."""
        pool, self._pool = self._pool, None
        for process in self._context.made:
            if process.pid is not None:  # else it was never started
                process.kill()
        self._context.made.clear()
        if pool is not None:
            pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def default_workers() -> int:
    """As many as this process may use cores, less two for the model and its reader; at most 8."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        cores = os.cpu_count() or 1
    return min(_MAX_WORKERS, max(0, cores - 2))


def _init_worker() -> None:
    """Signals to a whole group are the parent's to answer, and a worker leaves with it."""
    for name in ("SIGINT", "SIGTERM", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _open_image(opening: ImageTransform, data: bytes, name: str) -> Image.Image:
    return opening.open(data, name)
