"""Checks that LoRA configurations target the same modules as in PEFT, with the same ranks, over the module names of many models; and that
every architecture has PEFT's default targets, or none.

    python scripts/compare/compare_targets.py [--cases 3000] [--seed 1] [MODEL_DIRECTORY ...]

Without directories: the model fixtures. Needs a build (npm run build), and torch, transformers and peft; for comparing only.
"""
import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from peft import LoraConfig
from peft.tuners.tuners_utils import _ExcludedModule, _find_minimal_target_modules, check_target_module_exists
from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as DEFAULTS
from peft.utils.other import get_pattern_key
from transformers import AutoConfig, AutoModelForCausalLM

ROOT = Path(__file__).resolve().parents[2]
EXPRESSIONS = [
    r".*\.(q|v)_proj", r"(?i).*Q_PROJ", r"model\.layers\.(?P<i>\d+)\.mlp\..*", r".*(?<!gate)_proj", r"^.*attn.*$", r".*[0-1]\..*proj",
    r".*\.layers\.[^0]\..*", r"(?:.*\.)?c_(attn|proj)", r".*mlp\.\w+_(proj|fc)\Z", r".*o_proj|.*k_proj", r".+\.\d{1,2}\.self_attn\.[qkv]_proj",
]  # fmt: skip
PATTERNS = [".*proj", r"layers\.0.*", "q_proj|k_proj", "^model.*up_proj"]


def module_names(folder: Path) -> list[str]:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    return [name for name, _ in model.named_modules() if name]


def random_fields(names: list[str], draw: random.Random) -> dict:
    def ending() -> str:
        return ".".join(draw.choice(names).split(".")[-draw.randint(1, 4) :])

    by_expression = draw.random() < 0.3
    fields: dict = {"target_modules": draw.choice(EXPRESSIONS) if by_expression else [ending() for _ in range(draw.randint(1, 4))]}
    if draw.random() < 0.3:
        fields["exclude_modules"] = draw.choice(EXPRESSIONS) if draw.random() < 0.4 else [ending()]
    if draw.random() < 0.3:
        fields["modules_to_save"] = [ending() for _ in range(draw.randint(1, 2))]
    if not by_expression and draw.random() < 0.4:
        fields["layers_to_transform"] = draw.choice([0, 1, [0], [1], [0, 1], [], [5]])
        if draw.random() < 0.5:
            fields["layers_pattern"] = draw.choice(["layers", "h", ["h", "layers"], "blocks", "model.layers", "l.*s"])
    keys = [draw.choice([ending(), re.escape(ending()), *PATTERNS]) for _ in range(2)]
    # A key of digits only names no linear layer, and JavaScript's objects would move it to the front.
    fields["rank_pattern"] = {key: index + 1 for index, key in enumerate(keys) if not key.isdigit()}
    return fields


def by_peft(names: list[str], fields: dict) -> dict:
    config = LoraConfig(**fields)
    found = [check_target_module_exists(config, name) for name in names]
    matches = ["excluded" if isinstance(one, _ExcludedModule) else "target" if one else "none" for one in found]
    ranks = [config.rank_pattern.get(get_pattern_key(config.rank_pattern.keys(), name), config.r) for name in names]
    return {"matches": matches, "ranks": ranks}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--cases", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    draw = random.Random(args.seed)
    folders = args.folders or sorted((ROOT / "packages-private/fixtures/models").iterdir())
    names = {folder.name: module_names(folder) for folder in folders}
    models = [draw.choice(list(names)) for _ in range(args.cases)]
    cases = [{"model": model, "config": random_fields(names[model], draw)} for model in models]
    lists = []
    for model in models[: args.cases // 8]:
        targets = draw.sample(names[model], draw.randint(1, len(names[model]) - 1))
        lists.append({"targets": targets, "others": [name for name in names[model] if name not in targets]})
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump({"names": names, "cases": cases, "lists": lists}, file)
        file.flush()
        command = ["node", str(ROOT / "scripts/compare/match-targets.mjs"), file.name]
        ours = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    wrong = [case for case, found in zip(cases, ours["matched"]) if found != by_peft(names[case["model"]], case["config"])]
    condensed = [sorted(_find_minimal_target_modules(one["targets"], one["others"])) for one in lists]
    wrong += [one for one, found, expected in zip(lists, ours["minimal"], condensed) if found != expected]
    wrong += [{kind: found} for kind, found in ours["defaults"].items() if found != DEFAULTS.get(kind)]
    for case in wrong[:5]:
        print(json.dumps(case))
    print(f"{len(cases)} configurations over {len(names)} models and {len(lists)} condensed lists, defaults of {len(ours['defaults'])} architectures: {len(wrong)} differ")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
