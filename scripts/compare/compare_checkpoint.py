"""Checks that checkpoints saved by this project load in Hugging Face transformers and give equal logits.

    python scripts/compare/compare_checkpoint.py [MODEL_DIRECTORY ...]

Without arguments: the model fixtures. Needs a build (npm run build), and torch and transformers; for comparing only.
"""
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils import logging

ROOT = Path(__file__).resolve().parents[2]
TOLERANCE = 1e-5


def check(source: Path, *options: str) -> float:
    with tempfile.TemporaryDirectory() as output:
        subprocess.run(["node", ROOT / "scripts/compare/save-checkpoint.mjs", source, output, *options], check=True)
        ours = json.loads((Path(output) / "compare.json").read_text())
        model, report = AutoModelForCausalLM.from_pretrained(output, dtype=torch.float32, output_loading_info=True)
        wrong = {kind: names for kind, names in report.items() if names}
        assert not wrong, f"{source}: {wrong}"
        original = AutoConfig.from_pretrained(source).to_dict()
        saved = AutoConfig.from_pretrained(output).to_dict()
        for settings in (original, saved):
            for key in ("dtype", "_name_or_path"):
                settings.pop(key, None)
        assert original == saved, f"{source}: the configuration reads back differently"
        with torch.no_grad():
            theirs = model.eval()(torch.tensor(ours["input_ids"]).reshape(ours["rows"], -1)).logits
        return (theirs.reshape(-1) - torch.tensor(ours["logits"])).abs().max().item()


def main() -> None:
    logging.disable_progress_bar()
    folders = [Path(p) for p in sys.argv[1:]] or sorted((ROOT / "packages-private/fixtures/models").iterdir())
    worst = 0.0
    for folder in folders:
        for options in ([], ["--shards", "60KB"], ["--fresh"], ["--train"]):
            difference = check(folder, *options)
            worst = max(worst, difference)
            print(f"{folder.name:24} {' '.join(options) or 'one file':16} largest difference of a logit {difference:.2e}")
    sys.exit(f"worst difference {worst:.2e} > {TOLERANCE:.0e}" if worst > TOLERANCE else 0)


if __name__ == "__main__":
    main()
