"""Which classes of transformers rag-vqa reads, seen with tiny random weights of each class.

For every class that the installed transformers maps for image-text-to-text, and for causal
language models, writes a folder (tiny_classes.py, or the tests' own maker of a family) and opens it
with LocalReader: unquantised, in nf4 and in int8, with one picture and with three. Each class has
a process of its own with a time limit. What was not seen is recorded with the reason.

    python benchmarks/model_classes.py                 # all; goes on where it was cut
    python benchmarks/model_classes.py --again llava   # these anew
    python benchmarks/model_classes.py --page          # only writes docs/model-classes.md
"""

import argparse
import json
import multiprocessing
import os
import re
import resource
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RESULTS, PAGE = HERE / "results/model_classes.json", HERE.parent / "docs/model-classes.md"
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tests/support"), str(HERE)]
SECONDS = 90  # of a processor's time: the most that one class may take
PATIENCE = 600  # s, for a busy machine
QUANTIZATIONS = ("nf4", "int8")
Row = dict[str, Any]


def try_sighted(model_type: str, name: str, row: Row, report: Callable[[], None]) -> None:
    """Fills the row of a class for images and text."""
    import tiny_classes
    import tiny_readers
    from transformers import CONFIG_MAPPING, AutoModelForImageTextToText
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

    kind = CONFIG_MAPPING[model_type]
    folder = Path(tempfile.mkdtemp(dir=row.pop("folder")))
    if model_type in tiny_readers.FAMILIES:
        tiny_readers.FAMILIES[model_type](folder)
        _read(folder, row, True, report)
        return
    processor = PROCESSOR_MAPPING.get(kind, None)
    packaged = processor is None or "Placeholder" not in repr(processor)
    tokenizer, ids = tiny_classes.make_tokenizer(processor if packaged else None)
    tokenizer.save_pretrained(folder)
    if not _state(row, "weights", lambda: tiny_classes.save_weights(
        AutoModelForImageTextToText, kind, ids, folder
    )):  # fmt: skip
        _state(row, "configuration", lambda: _layers(kind()))
        return
    report()
    if processor is not None:

        def save_images() -> None:
            if not packaged:
                raise LookupError("its processor needs torchvision")
            tiny_classes.save_images(model_type, processor, folder)

        if not _state(row, "images", save_images):
            _read_weights(folder, row, report)
            return
        tiny_classes.save_processor(processor, folder)
    _read(folder, row, True, report)
    wanted = re.search(r"features:? (\d+)", row.get("error", ""))
    if wanted and processor is not None:  # the length of a picture, which only the model knows
        tiny_classes.save_processor(processor, folder, int(wanted[1]))
        row.pop("error")
        _read(folder, row, True, report)
    if not row["loads"]:
        _read_weights(folder, row, report)


def try_text(model_type: str, name: str, row: Row, report: Callable[[], None]) -> None:
    """Fills the row of a language model."""
    import tiny_classes
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    kind = CONFIG_MAPPING[model_type]
    folder = Path(tempfile.mkdtemp(dir=row.pop("folder")))
    tokenizer, ids = tiny_classes.make_tokenizer(None)
    tokenizer.save_pretrained(folder)
    if _state(row, "weights", lambda: tiny_classes.save_weights(
        AutoModelForCausalLM, kind, ids, folder
    )):  # fmt: skip
        report()
        _read(folder, row, False, report)


def _layers(config: Any) -> None:
    """Refuses what our loader would not quantise, by the default configuration alone."""
    from rag_vqa.readers.model_loading import _unquantised_modules

    _unquantised_modules(config)


def _state(row: Row, what: str, act: Callable[[], Any]) -> bool:
    """Whether `act` works; if not, its error stands in the row under `what`."""
    try:
        act()
    except Exception as error:  # noqa: BLE001  of any library: it is the result
        row[what] = _words(error)
        return False
    row[what] = "ok"
    return True


def _words(error: Exception) -> str:
    """The kind of an error and its first words, without the name of a folder of this machine."""
    text = re.sub(r"(/tmp\w*)+", "FOLDER", " ".join(str(error).split()))
    return f"{type(error).__name__}: {text[:200]}"


def _read(folder: Path, row: Row, sees: bool, report: Callable[[], None]) -> None:
    """Opens the folder as users do, in every quantisation, and reads a picture and three."""
    from rag_vqa.readers.local import LocalReader

    def answer(quantization: Any) -> None:
        reader = LocalReader(
            folder, quantization=quantization, device="cpu", max_new_tokens=3,
            **({"max_images": 3} if sees else {}),
        )  # fmt: skip
        _check_quantised(reader.model, quantization)
        reader.generate([_prompt(folder, 1 if sees else 0)])
        if quantization == "none" and sees:
            _state(row, "one picture", lambda: _looks(reader, folder, 1))
            _state(row, "several pictures", lambda: _looks(reader, folder, 3))

    try:
        answer("none")
    except Exception as error:  # noqa: BLE001  of any library: it is the result
        row["loads"] = False
        row["error"] = _words(error)
        return
    row["loads"] = True
    report()
    for quantization in QUANTIZATIONS:
        _state(row, quantization, lambda each=quantization: answer(each))
        report()


def _read_weights(folder: Path, row: Row, report: Callable[[], None]) -> None:
    """Loads the weights without a processor, in every quantisation, and reads a text."""
    import torch
    from transformers import AutoConfig

    from rag_vqa.readers.model_loading import load_model, refuse_quantised_experts

    def read(quantization: Any) -> None:
        config = AutoConfig.from_pretrained(folder)
        refuse_quantised_experts(str(folder), config, quantization, torch.float32)
        model = load_model(str(folder), config, quantization, "cpu", torch.float32)
        _check_quantised(model, quantization)
        with torch.inference_mode():
            model(input_ids=torch.arange(40, 72)[None], attention_mask=torch.ones(1, 32).long())

    for quantization in ("none", *QUANTIZATIONS):
        _state(row, f"weights {quantization}", lambda each=quantization: read(each))
        report()


def _check_quantised(model: Any, quantization: str) -> None:
    """Refuses a model without quantised weights."""
    from rag_vqa.readers.model_loading import weight_bytes

    if quantization != "none" and quantization not in weight_bytes(model):
        raise ValueError("no weight was quantised")


def _prompt(folder: Path, pictures: int, last: str = "red") -> Any:
    from PIL import Image

    from rag_vqa.types import ImagePart, Prompt, TextPart

    parts: list[Any] = [TextPart("Answer in one word.", role="system")]
    for place in range(pictures):
        colour = last if place == pictures - 1 else ("blue", "green")[place]
        path = folder / f"{colour}-{place}.png"
        Image.new("RGB", (64 + 32 * place, 64), colour).save(path)
        parts += [TextPart(f"[{place + 1}] Doc: "), ImagePart(path)]
    return Prompt((*parts, TextPart("What is the capital?")))


def _looks(reader: Any, folder: Path, pictures: int) -> None:
    """Refuses a reader whose next token does not depend on the last of its pictures."""
    import torch

    logits = []
    for colour in ("red", "white"):
        with torch.inference_mode():
            prompt = _prompt(folder, pictures, colour)
            logits.append(reader.model(**reader.encode([prompt])).logits[0, -1])
        reader.generate([prompt])
    if torch.equal(*logits):
        raise ValueError("the last picture changes nothing")


def run_one(task: str, model_type: str, name: str, out: Path) -> None:
    """In the child: tries one class and writes its row, after every step."""
    import torch

    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    log = os.open(out.with_suffix(".log"), os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    warnings.simplefilter("ignore")
    row: Row = {"class": name, "folder": str(out.parent)}

    def report() -> None:
        kept = {key: value for key, value in row.items() if key != "folder"}
        out.write_text(json.dumps(kept), "utf-8")

    try:
        {"image": try_sighted, "text": try_text}[task](model_type, name, row, report)
    except Exception as error:  # noqa: BLE001  of any library: it is the result
        row["error"] = _words(error)
    report()


def see(task: str, model_type: str, name: str) -> Row:
    """The row of one class, from a process that ends after `SECONDS`."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "row.json"
        child = multiprocessing.get_context("fork").Process(
            target=run_one, args=(task, model_type, name, out)
        )
        child.start()
        child.join(PATIENCE)
        late = child.is_alive()
        if late:
            child.kill()
            child.join()
        row: Row = json.loads(out.read_text("utf-8")) if out.exists() else {"class": name}
        if late or child.exitcode == -signal.SIGKILL:
            row["error"] = f"not done after {SECONDS} s"
        elif child.exitcode:
            row["error"] = f"the process ended with {child.exitcode}"
    return row


def mapped_classes() -> dict[str, dict[str, str]]:
    """From the task and the model type to the class, as transformers maps them."""
    from transformers.models.auto import modeling_auto

    images = modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    texts = modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    return {
        "image": dict(images),
        "text": {kind: name for kind, name in texts.items() if kind not in images},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--again", nargs="*", default=[], help="model types to try anew")
    parser.add_argument("--task", choices=("image", "text"), help="only these classes")
    parser.add_argument("--page", action="store_true", help="only write the page")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "0"}
    found = json.loads(options.out.read_text("utf-8")) if options.out.exists() else {}
    if not options.page:
        import torch  # noqa: F401  before the children are forked, once
        import transformers

        import rag_vqa.readers.local  # noqa: F401

        found["transformers"] = transformers.__version__
        for task, classes in mapped_classes().items():
            known = found.get(task, {})
            found[task] = {kind: known.get(kind, {"class": name}) for kind, name in classes.items()}
        for task, classes in mapped_classes().items():
            if options.task not in (None, task):
                continue
            rows = found[task]
            for model_type, name in classes.items():
                if len(rows[model_type]) > 1 and model_type not in options.again:
                    continue  # seen before
                if options.again and model_type not in options.again:
                    continue
                rows[model_type] = see(task, model_type, name)
                options.out.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
                print(task, model_type, rows[model_type], flush=True)
    if options.out == RESULTS:
        from model_classes_page import page

        PAGE.write_text(page(found), "utf-8")


if __name__ == "__main__":
    main()
