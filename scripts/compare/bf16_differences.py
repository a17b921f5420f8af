"""Writes how far transformers' bfloat16 logits are from its float32 logits: packages-private/fixtures/bf16-differences.json.

    python scripts/compare/bf16_differences.py > packages-private/fixtures/bf16-differences.json

For every model of the fixtures and 48 inputs the mean and the largest difference. One input alone says little: which value is rounded
up and which down is chance. Needs the pinned peers (torch, transformers); for comparing only.
"""
import json
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM
from transformers.utils import logging

MODELS = Path(__file__).resolve().parents[2] / "packages-private/fixtures/models"
INPUTS, LENGTH = 48, 24


def input_ids(index: int, vocabulary: int) -> torch.Tensor:
    return torch.tensor([[(at * (37 + 2 * index) + 11 * index + at * at * 7) % vocabulary for at in range(LENGTH)]])


def differences(folder: Path) -> dict:
    exact = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    rounded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()
    mean, largest = [], []
    with torch.no_grad():
        for index in range(INPUTS):
            ids = input_ids(index, exact.config.vocab_size)
            difference = (exact(ids).logits - rounded(ids).logits.float()).abs()
            mean.append(float(f"{difference.mean().item():.6g}"))
            largest.append(float(f"{difference.max().item():.6g}"))
    return {"mean_abs": mean, "max_abs": largest}


def main() -> None:
    logging.disable_progress_bar()
    torch.set_num_threads(1)
    cases = {folder.name: differences(folder) for folder in sorted(MODELS.iterdir())}
    about = {"transformers": transformers.__version__, "torch": torch.__version__, "inputs": INPUTS, "length": LENGTH}
    print(json.dumps({**about, "cases": cases}, separators=(",", ":")))


if __name__ == "__main__":
    main()
