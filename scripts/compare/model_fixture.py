"""Writes a tiny random checkpoint of an architecture with transformers' numbers for it: packages-private/fixtures/models/NAME.

    python scripts/compare/model_fixture.py stablelm

What a case is made of stands in CASES. The tests in packages/models/test/architectures read it. Needs the pinned peers (torch, transformers); for
comparing only.
"""
import json
import random
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, GenerationConfig
from transformers.utils import logging

MODELS = Path(__file__).resolve().parents[2] / "packages-private/fixtures/models"
SMALL = dict(
    vocab_size=96, hidden_size=48, intermediate_size=56, num_hidden_layers=2, num_attention_heads=3, num_key_value_heads=1,
    max_position_embeddings=64, initializer_range=0.15, bos_token_id=1, eos_token_id=2, pad_token_id=0,
)  # fmt: skip
ROPE = dict(rope_type="default", rope_theta=10000.0)
CASES = {
    "stablelm": ("stablelm", dict(SMALL, use_qkv_bias=True, rope_parameters=dict(ROPE, partial_rotary_factor=0.25))),
    "stablelm-parallel": (
        "stablelm",
        dict(SMALL, use_parallel_residual=True, qk_layernorm=True, rope_parameters=dict(ROPE, partial_rotary_factor=0.5)),
    ),
}
NEW_TOKENS = 24
LENGTHS, PROMPTS = (17, 11, 8), (5, 0, 3)
IGNORED = -100


def published(config: dict) -> dict:
    """The names of transformers 4, which files on the hub have."""
    old = dict(config)
    rope = old.pop("rope_parameters")
    old.update(rope_theta=rope["rope_theta"], rope_scaling=None, torch_dtype=old.pop("dtype", "float32"))
    if "partial_rotary_factor" in rope:
        old["partial_rotary_factor"] = rope["partial_rotary_factor"]
    return old


def draw_weights(model: torch.nn.Module, generator: torch.Generator) -> None:
    """Nothing at its initial value, so that no weight can be left out unnoticed."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator) * 0.15
            parameter.copy_(noise + 1 if parameter.ndim == 1 and name.endswith("weight") else noise)


def batch(vocabulary: int) -> dict:
    width = max(LENGTHS)
    ids = torch.zeros(len(LENGTHS), width, dtype=torch.long)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, IGNORED)
    for row, (length, prompt) in enumerate(zip(LENGTHS, PROMPTS)):
        ids[row, :length] = torch.tensor([(at * 37 + 11 + 53 * row) % (vocabulary - 3) + 3 for at in range(length)])
        mask[row, :length] = 1
        labels[row, prompt:length] = ids[row, prompt:length]
    return dict(input_ids=ids, attention_mask=mask, labels=labels)


def packed(inputs: dict) -> dict:
    rows = [(inputs["input_ids"][row, :length], inputs["labels"][row, :length].clone()) for row, length in enumerate(LENGTHS)]
    for _, labels in rows:
        labels[0] = IGNORED
    return {
        "packed.input_ids": torch.cat([ids for ids, _ in rows])[None],
        "packed.position_ids": torch.cat([torch.arange(length) for length in LENGTHS])[None],
        "packed.labels": torch.cat([labels for _, labels in rows])[None],
    }


def greedy(model, prompts: list, stop=None) -> list:
    """New tokens of each prompt, all in one batch that is padded on the left."""
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    options = dict(do_sample=False, max_new_tokens=NEW_TOKENS, pad_token_id=0, eos_token_id=stop)
    return model.generate(ids, attention_mask=mask, generation_config=GenerationConfig(**options))[:, width:].tolist()


def generation(model) -> dict:
    for seed in range(100):
        draw = random.Random(seed)
        prompts = [[draw.randrange(3, model.config.vocab_size) for _ in range(length)] for length in (5, 11, 8)]
        alone, together = [greedy(model, [prompt])[0] for prompt in prompts], greedy(model, prompts)
        if alone == together:  # else a near tie, which rounding decides
            break
    assert alone == together
    width, stop = max(map(len, prompts)), alone[1][9]
    return {
        "new_tokens": NEW_TOKENS,
        "pad_token_id": 0,
        "prompts": prompts,
        "greedy": alone,
        "left_padded_batch": {
            "input_ids": [[0] * (width - len(prompt)) + prompt for prompt in prompts],
            "attention_mask": [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts],
            "greedy": together,
        },
        "stop": {"eos_token_id": stop, "left_padded_batch_greedy": greedy(model, prompts, stop)},
    }


def bfloat16(folder: Path, inputs: dict, logits: torch.Tensor) -> dict:
    """How far transformers' own bfloat16 is from float32 where there is no padding."""
    with torch.no_grad():
        rounded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()(**inputs)
    difference = (rounded.logits.float() - logits).abs()[inputs["attention_mask"] == 1]
    largest, mean = difference.max().item(), difference.mean().item()
    return {"loss": rounded.loss.item(), "logits_vs_float32": {"max_abs": largest, "mean_abs": mean}}


def main(name: str) -> None:
    logging.disable_progress_bar()
    torch.set_num_threads(1)
    kind, settings = CASES[name]
    folder = MODELS / name
    config = CONFIG_MAPPING[kind](**json.loads(json.dumps(settings)))
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    draw_weights(model, torch.Generator().manual_seed(sum(name.encode())))
    model.save_pretrained(folder)
    current = json.loads((folder / "config.json").read_text())
    (folder / "config.v5.json").write_text(json.dumps(current, indent=1) + "\n")
    (folder / "config.json").write_text(json.dumps(published(current), indent=1) + "\n")

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()  # from the file as it is published
    inputs = batch(config.vocab_size)
    output = model(**inputs)
    output.loss.backward()
    items = int((inputs["labels"][:, 1:] != IGNORED).sum()) + 5
    with torch.no_grad():
        with_items = model(**inputs, num_items_in_batch=torch.tensor(items)).loss.item()
        row = packed(inputs)
        alone = [model(inputs["input_ids"][i : i + 1, :length]).logits for i, length in enumerate(LENGTHS)]
        logits = torch.cat(alone, dim=1)
        loss = torch.nn.functional.cross_entropy(logits[0, :-1], row["packed.labels"][0, 1:], ignore_index=IGNORED).item()
    tensors = {**inputs, **row, "packed.logits": logits, "logits": output.logits.detach(), "loss": output.loss.detach()}
    tensors |= {f"grad.{key}": parameter.grad for key, parameter in model.named_parameters()}
    integers = {key: value.int() for key, value in tensors.items() if not value.is_floating_point()}
    save_file({key: value.contiguous() for key, value in (tensors | integers).items()}, folder / "expected.safetensors")
    document = {
        "case": name,
        "lengths": LENGTHS,
        "loss": {
            "hf_loss": output.loss.item(),
            "num_items_in_batch": items,
            "hf_loss_with_num_items_in_batch": with_items,
        },
        "packed": {"loss": loss},
        "bf16": bfloat16(folder, inputs, output.logits.detach()),
        "generation": generation(model),
    }
    (folder / "expected.json").write_text(json.dumps(document) + "\n")


if __name__ == "__main__":
    for case in sys.argv[1:] or CASES:
        main(case)
