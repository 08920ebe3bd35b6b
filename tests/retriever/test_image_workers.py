"""Pictures opened ahead: the pixels that the whole image processor makes; processes that die."""

import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rag_vqa import images
from rag_vqa.errors import BadImage
from rag_vqa.retriever import image_workers
from rag_vqa.retriever.image_workers import ImageOpener, ImageTransform

SIZES = [(224, 224), (640, 480), (481, 640), (100, 31), (1, 9), (225, 224), (2000, 300)]


def noise(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(width * height).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"size": {"shortest_edge": 64}, "crop_size": {"height": 64, "width": 64}},
        {"size": {"shortest_edge": 70}, "crop_size": {"height": 64, "width": 64}},
        {"size": {"height": 48, "width": 48}, "do_center_crop": False},
        {"size": {"height": 48, "width": 40}, "do_center_crop": False, "resample": 2},
        {"size": {"height": 80, "width": 80}, "crop_size": {"height": 64, "width": 64}},
        {"size": {"shortest_edge": 64, "longest_edge": 90}, "do_center_crop": False},
    ],
)
def test_an_opened_picture_has_the_pixels_of_the_whole_processor(options) -> None:
    from transformers import CLIPImageProcessorPil

    processor = CLIPImageProcessorPil(**options)
    how = ImageTransform.from_processor(processor, exif=True)
    for size in SIZES:
        picture = noise(*size)
        opened = how.open(images.encode(picture), "x")
        due, found = (processor(p)["pixel_values"][0] for p in (picture, opened))
        assert due.dtype == found.dtype and due.tobytes() == found.tobytes()


@pytest.mark.parametrize("size", [(10, 3000), (3000, 10), (7, 2500)])
def test_a_strip_is_cut_before_it_is_enlarged(size) -> None:
    """The same bytes as enlarging it whole and cutting then."""
    from transformers import CLIPImageProcessorPil

    processor = CLIPImageProcessorPil()
    picture = noise(*size)
    found = np.asarray(ImageTransform.from_processor(processor, exif=True).shrink(picture))
    whole = processor(picture, do_rescale=False, do_normalize=False)["pixel_values"][0]
    assert np.array_equal(found, whole.transpose(1, 2, 0))


def test_the_longest_strip_takes_little_memory(monkeypatch) -> None:
    from transformers import CLIPImageProcessorPil

    made = []
    resize = Image.Image.resize
    monkeypatch.setattr(
        Image.Image, "resize", lambda image, size, *a: made.append(size) or resize(image, size, *a)
    )
    small = ImageTransform.from_processor(CLIPImageProcessorPil(), exif=True).shrink
    for size in ((1, 10_000), (10_000, 1), (1, 1_000_000)):
        assert small(noise(*size)).size == (224, 224)
    assert all(width * height < 10_000 * 224 for width, height in made)


def test_what_waits_is_small() -> None:
    from transformers import CLIPImageProcessorPil

    how = ImageTransform.from_processor(CLIPImageProcessorPil(), exif=True)
    assert how.open(images.encode(noise(900, 400)), "x").size == (224, 224)


def test_a_worker_imports_no_torch() -> None:
    code = (
        "[__import__('rag_vqa.retriever.image_workers'), "
        "sorted({'torch', 'transformers'} & {*__import__('sys').modules})][1]"
    )
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        assert pool.submit(eval, code).result() == []


@pytest.fixture
def opener() -> Iterator[ImageOpener]:
    with ImageOpener(ImageTransform(size=(8, 8)), workers=2) as two:
        yield two


def test_workers_give_what_this_process_gives(opener: ImageOpener) -> None:
    files = [images.encode(noise(n, 20)) for n in range(1, 9)]
    waiting = [opener.start(data, "x") for data in files]
    here = ImageOpener(ImageTransform(size=(8, 8)))
    for data, wait in zip(files, waiting, strict=True):
        assert wait().tobytes() == here.start(data, "x")().tobytes()
    bad = opener.start(files[0][:50], "cut.png")  # refused when waited for, by the file's name
    with pytest.raises(BadImage, match=r"^cut\.png: truncated"):
        bad()
    with pytest.raises(BadImage, match=r"^cut\.png: truncated"):
        here.start(files[0][:50], "cut.png")


def test_a_dead_worker_is_said_once_and_the_rest_opened_here(opener: ImageOpener) -> None:
    data = images.encode(noise(30, 20))
    due = opener.start(data, "x")().tobytes()
    waiting = [opener.start(data, "x") for _ in range(3)]
    children = multiprocessing.active_children()
    for child in children:
        with suppress(ProcessLookupError):  # the pool ends the second when it sees the first gone
            os.kill(child.pid or 0, signal.SIGKILL)
    for child in children:
        child.join()
    with pytest.warns(UserWarning, match="has ended.*--workers") as said:
        found = [wait() for wait in [*waiting, *(opener.start(data, "x") for _ in range(2))]]
    assert len(said) == 1 and {picture.tobytes() for picture in found} == {due}


def test_a_worker_that_hangs_is_left_behind(
    opener: ImageOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = images.encode(noise(30, 20))
    due = opener.start(data, "x")().tobytes()
    children = multiprocessing.active_children()
    for child in children:
        os.kill(child.pid or 0, signal.SIGSTOP)
    monkeypatch.setattr(image_workers, "STUCK_SECONDS", 0.2)
    with pytest.warns(UserWarning, match="hangs"):
        assert opener.start(data, "x")().tobytes() == due
    assert not any(child.is_alive() for child in children)


def test_no_process_is_left_and_none_answers_the_parent_s_signals(opener: ImageOpener) -> None:
    data = images.encode(noise(30, 20))
    for wait in [opener.start(data, "x") for _ in range(20)]:
        wait()
    children = multiprocessing.active_children()
    assert len(children) == 2
    for child in children:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            os.kill(child.pid or 0, number)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert opener.start(data, "x")().size == (8, 8)
    opener.close()
    assert not any(child.is_alive() for child in children)


def test_ended_with_pictures_on_their_way(opener: ImageOpener) -> None:
    data = images.encode(noise(500, 400))  # more than a pipe holds
    for wait in [opener.start(data, "x") for _ in range(4)]:
        wait()
    for _ in range(20):
        opener.start(data, "x")
    time.sleep(0.02)  # in the middle of one
    opener.close()
    assert multiprocessing.active_children() == []


SLOW = """
import time
from pathlib import Path

class Slow:  # in place of an Opening
    def open(self, data, name):
        Path(name + ".begun").touch()
        time.sleep(30)
        Path(name).touch()
"""


@pytest.mark.parametrize("stopped", [False, True])
def test_every_worker_is_ended_whatever_it_is_at(tmp_path, monkeypatch, stopped) -> None:
    """`stopped`: a signal comes when the pool has just started one, before it can be noted."""
    (tmp_path / "slow_pictures.py").write_text(SLOW)
    monkeypatch.syspath_prepend(tmp_path)
    opener = ImageOpener(importlib.import_module("slow_pictures").Slow(), workers=3)
    names = [str(tmp_path / name) for name in "abc"]
    for name in names[:2]:
        opener.start(b"", name)
    if stopped:
        submit = ProcessPoolExecutor.submit

        def signalled(*args: Any, **options: Any) -> None:
            submit(*args, **options)
            raise KeyboardInterrupt

        monkeypatch.setattr(ProcessPoolExecutor, "submit", signalled)
        with pytest.raises(KeyboardInterrupt):
            opener.start(b"", names[2])
    else:
        opener.start(b"", names[2])
    while not all(Path(name + ".begun").exists() for name in names):
        time.sleep(0.05)
    opener.close()
    assert multiprocessing.active_children() == []
    assert not any(Path(name).exists() for name in names)  # nobody was waited for


def test_processes_of_others_are_left_alone(opener: ImageOpener) -> None:
    """Even such as start while the pool starts its own."""
    other = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
    submit = ProcessPoolExecutor.submit

    def beside(*args: Any, **options: Any) -> Any:
        if other.pid is None:
            other.start()
        return submit(*args, **options)

    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ProcessPoolExecutor, "submit", beside)
            opener.start(images.encode(noise(30, 20)), "x")()
        opener.close()
        assert other.is_alive()
    finally:
        other.kill()
        other.join()


PROGRAM = """
import multiprocessing, sys
from PIL import Image
from rag_vqa import images
from rag_vqa.retriever.image_workers import ImageOpener, ImageTransform
if __name__ == "__main__":
    opener = ImageOpener(ImageTransform(size=(8, 8)), 1)
    opener.start(images.encode(Image.new("RGB", (9, 9))), "x")()
    print(multiprocessing.active_children()[0].pid, flush=True)
    sys.stdin.read()
"""


def test_a_worker_leaves_with_its_parent(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, tmp_path / "program.py"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        parent.kill()
    for _ in range(600):
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        state = Path(f"/proc/{worker}/stat")
        if state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z":
            return  # dead, and not yet collected by whoever collects orphans
        time.sleep(0.1)
    raise AssertionError("the worker lives on")
