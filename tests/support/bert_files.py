"""A BERT classifier of random weights, whole, with its vocabulary."""

from pathlib import Path

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"[],.?abcdefghi", "sep", "oslo", "ber",
         "##gen", "which", "town", "the", "##s"]  # fmt: skip


def bert(folder: Path, types: int = 3, seed: int = 0, act: str = "gelu_new") -> Path:
    """Writes one into the folder: 2 layers, 2 heads, 16 wide, weights large enough to matter."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=24, max_position_embeddings=512, type_vocab_size=types, hidden_act=act,
        num_labels=2,
    )  # fmt: skip
    torch.manual_seed(seed)
    model = BertForSequenceClassification(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.5)
    model.save_pretrained(folder)
    numbered = {word: number for number, word in enumerate(WORDS)}
    BertTokenizer(vocab=numbered, do_lower_case=True).save_pretrained(folder)
    return folder
