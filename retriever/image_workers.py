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

# A picture takes milliseconds, the worst that images.py allows a few seconds.
STUCK_SECONDS = 60.0
_MAX_WORKERS = 8  # workers by default: one model seldom takes more pictures than these bring

_LARGE_PIXELS = 8_000_000  # pixels

PendingImage = Callable[[], Image.Image]


@dataclass(frozen=True, slots=True)
class ImageTransform:
    """How pictures are opened, resized and cropped for one image processor.

    The processor then turns the small picture into exactly the pixels, byte for byte, that it
    would make of the large one. Only small pictures have to be kept in memory.

    Attributes:
        exif: turn the picture upright.
        size: (height, width) after resizing; None if `edge` is given, or if it is not resized.
        edge: length of the shorter side after resizing; `square` keeps the middle square.
        resample: Pillow's number of the filter.
    """

    exif: bool = True
    size: tuple[int, int] | None = None
    edge: int | None = None
    square: bool = False
    resample: int = Image.Resampling.BICUBIC

    @classmethod
    def from_processor(cls, processor: Any, *, exif: bool) -> Self:
        """The transform of a Hugging Face CLIP image processor.

        Resizing that CLIP never used is left to the processor; pictures then stay large.
        """
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
        """Open and shrink a picture file; `name` is for error messages. Raises BadImage."""
        return self.shrink(images.load(data, exif=self.exif, name=name))

    def shrink(self, picture: Image.Image) -> Image.Image:
        """The picture, resized and cropped as the processor would."""
        if self.size is None and self.edge is None:
            return picture
        filter_ = Image.Resampling(self.resample)
        width, height = self.resized_size(*picture.size)
        if self.edge is None or not self.square:
            return picture.resize((width, height), filter_)
        left, top = (width - self.edge) // 2, (height - self.edge) // 2
        right, bottom = left + self.edge, top + self.edge
        if width * height > _LARGE_PIXELS:
            return self._middle(picture, (left, top, right, bottom), width, height)
        return picture.resize((width, height), filter_).crop((left, top, right, bottom))

    def resized_size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of a picture after resizing, before cropping."""
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
        """Crop the square of an extreme strip without enlarging all of it to (width, height).

        A strip of 1 × 10,000 pixels would become 1.5 GB. Resizes in Pillow's own order, first
        across, then down, for the same bytes.
        """
        left, top, right, bottom = square
        x, y = picture.width / width, picture.height / height
        # First cut off what no filter reaches; Lanczos, the widest, reaches 3 pixels.
        first, last = max(0, int(top * y) - 4), min(picture.height, int(bottom * y) + 5)
        picture = picture.crop((0, first, picture.width, last))
        filter_, edge = Image.Resampling(self.resample), right - left
        picture = picture.resize(
            (edge, picture.height), filter_, (left * x, 0, right * x, picture.height)
        )
        return picture.resize((edge, edge), filter_, (0, top * y - first, edge, bottom * y - first))


class _RecordingContext(SpawnContext):
    """Records every process before it starts.

    A pool starts its processes one by one, and a signal may interrupt the call that starts one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.made: list[SpawnProcess] = []

    def Process(self, *args: Any, **options: Any) -> SpawnProcess:  # type: ignore[override]
        process = SpawnProcess(*args, **options)
        self.made.append(process)
        return process


class ImageOpener:
    """Opens pictures in `workers` processes, or in this one if `workers` is 0. `with` ends them.

    The workers start with the first picture. If one dies or hangs, all are ended, a warning is
    given, and this process opens the rest.
    """

    def __init__(self, opening: ImageTransform, workers: int = 0) -> None:
        self._opening, self.workers = opening, workers
        self._pool: ProcessPoolExecutor | None = None
        # spawn: torch has threads by now, and a forked child may inherit a lock that they hold
        self._context = _RecordingContext()

    def start(self, data: bytes, name: str) -> PendingImage:
        """Start to open a picture; returns a function that waits for it, or raises BadImage.

        Without workers it opens the picture, or raises BadImage, at once.
        """
        if not self.workers:
            picture = self._opening.open(data, name)
            return lambda: picture
        try:
            future = self._submit(data, name)
        except (BrokenProcessPool, OSError) as error:
            self._fall_back(error)
            return self.start(data, name)
        return lambda: self._wait(future, data, name)

    def _wait(self, future: Future[Image.Image], data: bytes, name: str) -> Image.Image:
        try:
            return future.result(timeout=STUCK_SECONDS if self.workers else 0)
        except (BrokenProcessPool, TimeoutError, CancelledError) as error:
            self._fall_back(error)
        return self._opening.open(data, name)

    def _submit(self, data: bytes, name: str) -> Future[Image.Image]:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(self.workers, self._context, _init_worker)
        return self._pool.submit(_open_image, self._opening, data, name)

    def _fall_back(self, error: Exception) -> None:
        if self.workers:
            reason = "hangs" if isinstance(error, TimeoutError) else "has ended"
            warnings.warn(
                f"a process that opens pictures {reason}: from here on they are opened one by one, "
                "more slowly. If memory ran out, use fewer processes: --workers 2",
                stacklevel=2,
            )
        self.close()
        self.workers = 0

    def close(self) -> None:
        """End the processes at once, even in the middle of a picture."""
        pool, self._pool = self._pool, None
        for process in self._context.made:
            if process.pid is not None:  # otherwise it was never started
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
    """The cores of this process, less two for the model and the source's reader; at most 8."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        cores = os.cpu_count() or 1
    return min(_MAX_WORKERS, max(0, cores - 2))


def _init_worker() -> None:
    """Ignore signals to the process group, which the parent handles; end with the parent."""
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
