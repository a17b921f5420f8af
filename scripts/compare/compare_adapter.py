"""Checks that adapters saved by this project load in PEFT, give equal logits, and are saved again by PEFT as the same files.

    python scripts/compare/compare_adapter.py [MODEL_DIRECTORY ...]

Without arguments: the model fixtures. Needs a build (npm run build), and torch, transformers and peft; for comparing only.
"""
import json
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import torch
from peft import PeftConfig, PeftModel
from safetensors import safe_open
from transformers import AutoModelForCausalLM

ROOT = Path(__file__).resolve().parents[2]
TOLERANCE = 1e-6  # of the largest logit, or of 10 where that is smaller: float32 has 7 digits, and some adapters make logits of 20
# Transformers 5 calls GPT-NeoX's head lm_head, published checkpoints and this project embed_out: PEFT ignores an adapter of that name.
RENAMED = {("gpt_neox", "head"), ("gpt_neox", "head-adapted")}


def header(path: Path) -> list:
    with safe_open(path, "pt") as file:
        return [(name, file.get_slice(name).get_dtype(), file.get_slice(name).get_shape()) for name in file.keys()]


def settings(directory: Path) -> dict:
    values = json.loads((directory / "adapter_config.json").read_text())
    for key in ("target_modules", "exclude_modules", "target_parameters"):  # sets in PEFT: any order
        if isinstance(values.get(key), list):
            values[key] = sorted(values[key])
    # PEFT replaces null by an empty list when it converts an adapter of experts.
    if "target_parameters" in values:
        values["target_parameters"] = values["target_parameters"] or None
    return values


def known_heads(directory: Path) -> PeftConfig:
    """The configuration as the adapter was made with: PEFT leaves tied heads out when it saves it, and does not find them again where the
    embedding has another name than embed_tokens."""
    config = PeftConfig.from_pretrained(directory)
    if directory.name == "tied" and not any(name.endswith("embed_tokens") for name in config.target_modules):
        config.target_modules.add("lm_head")
    return config


def relative_difference(theirs: torch.Tensor, ours: list) -> float:
    expected = theirs.reshape(-1)
    return ((expected - torch.tensor(ours)).abs().max() / expected.abs().max().clamp(min=10)).item()


def errors(model: PeftModel, ids: torch.Tensor, theirs: torch.Tensor, ours: list) -> tuple[float, float]:
    """How far our float32 and PEFT's are from PEFT's float64: two that are both within the tolerance of it may differ by more than that from
    each other, and nobody can be asked to be nearer to it than PEFT."""
    model.get_base_model().set_experts_implementation("eager")  # grouped products know no float64
    with torch.no_grad():
        exact = model.double()(ids).logits
    return relative_difference(exact, ours), relative_difference(exact, theirs.reshape(-1).tolist())


def targets_parameters(directory: Path) -> bool:
    """Also after PEFT has converted the adapter of single experts to one of their fused parameters."""
    settings_of = json.loads((directory / "adapter_config.json").read_text())
    return directory.name == "single-experts" or bool(settings_of.get("target_parameters"))


def check(source: Path, directory: Path) -> tuple[float, float]:
    """The difference, from PEFT's float32 or, where that is too large, from its float64; and what is allowed."""
    ours = json.loads((directory / "compare.json").read_text())
    base = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = PeftModel.from_pretrained(base, directory, config=known_heads(directory)).eval()
    complaints = [str(w.message) for w in caught if "adapter keys" in str(w.message) or "ignored" in str(w.message)]
    # PEFT looks for the keys of rank_pattern and alpha_pattern among modules only, and uses those of parameters all the same: their shapes would not fit.
    complaints = [text for text in complaints if "_pattern keys" not in text or not targets_parameters(directory)]
    assert not complaints, f"{directory.name}: {complaints}"
    ids = torch.tensor(ours["input_ids"]).reshape(ours["rows"], -1)
    with torch.no_grad():
        theirs = model(ids).logits
    difference = relative_difference(theirs, ours["logits"])
    again = directory / "again"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save_pretrained(again)
    name = "adapter_model.safetensors"
    if directory.name == "single-experts":  # PEFT saves them fused
        return difference, TOLERANCE
    assert header(directory / name) == header(again / name), f"{directory.name}: tensors"
    assert (directory / name).read_bytes() == (again / name).read_bytes(), f"{directory.name}: bytes of {name}"
    saved, resaved = settings(directory), settings(again)
    if directory.name == "tied":  # PEFT writes False into the whole configuration when it meets the head, a Linear among Conv1Ds
        resaved["fan_in_fan_out"] = saved["fan_in_fan_out"]
    if isinstance(saved.get("target_modules"), str) and isinstance(resaved.get("target_modules"), list):
        resaved["target_modules"] = saved["target_modules"]  # PEFT writes the names that match when it converts an adapter of experts
    different = {key: (value, resaved.get(key)) for key, value in saved.items() if value != resaved.get(key)}
    assert saved.keys() == resaved.keys() and not different, f"{directory.name}: {different}"
    if difference <= TOLERANCE:
        return difference, TOLERANCE
    own, peft = errors(model, ids, theirs, ours["logits"])
    return own, max(TOLERANCE, peft)


def main() -> None:
    models = ROOT / "packages-private/fixtures/models"
    folders = [Path(p) for p in sys.argv[1:]] or sorted(models.iterdir())
    worst, failed = 0.0, False
    for source in folders:
        with tempfile.TemporaryDirectory() as output:
            subprocess.run(["node", ROOT / "scripts/compare/save-adapter.mjs", source.resolve(), output], check=True)
            for directory in sorted(Path(output).iterdir()):
                if (source.name, directory.name) in RENAMED:
                    print(f"{source.name:20} {directory.name:16} skipped: Transformers 5 has another name for the head", flush=True)
                    continue
                difference, allowed = check(source.resolve(), directory)
                worst, failed = max(worst, difference), failed or difference > allowed
                print(f"{source.name:20} {directory.name:16} largest difference {difference:.1e} of the largest logit, or of 10 (allowed {allowed:.1e})", flush=True)
    print(f"largest of all: {worst:.1e}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
