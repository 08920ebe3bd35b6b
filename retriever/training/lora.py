"""LoRA on a tower, by peft: low-rank matrices beside frozen ones, and their sum for export.

Knows towers of transformers. Source of the method: Hu et al., LoRA, 2021. Does not know training.
"""

import logging

from torch import nn

from rag_vqa.errors import Missing

TARGETS = ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"]  # every matrix of a layer


def add_lora(tower: nn.Module, rank: int) -> None:
    """Put two matrices of this rank beside each of a tower's; they alone require gradients.

    The second begins at zero: the tower computes what it did. Raises Missing without peft.
    """
    # Peft imports bitsandbytes, which asks for a package to fetch code with; none of it is used.
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise Missing(
            "LoRA needs peft. Get it: pip install 'rag-vqa[train]', or set towers to frozen."
        ) from error
    config = LoraConfig(r=rank, lora_alpha=rank, lora_dropout=0.0, target_modules=TARGETS)
    inject_adapter_in_model(config, tower)


def merge_lora(module: nn.Module) -> None:
    """Add what LoRA learned to the matrices themselves, and take it out: in place."""
    found = [(name, part) for name, part in module.named_modules() if hasattr(part, "lora_A")]
    for name, part in found:
        part.merge()
        parent, _, attribute = name.rpartition(".")
        setattr(module.get_submodule(parent), attribute, part.get_base_layer())
