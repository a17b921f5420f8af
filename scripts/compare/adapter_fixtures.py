"""Writes adapters of PEFT with what PEFT computes with them: packages-private/fixtures/lora/<case>, prompt-tuning/<case>, weighted-adapter.

    python scripts/compare/adapter_fixtures.py [CASE ...]

Needs the pinned peers (torch, transformers, peft); for comparing only.
"""
import json
import sys
import tempfile
import warnings
from pathlib import Path

import torch
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

FIXTURES = Path(__file__).resolve().parents[2] / "packages-private/fixtures"
EXPERTS = ["experts.gate_up_proj", "experts.down_proj"]
CASES = {
    "mixtral-experts": ("mixtral", dict(r=3, lora_alpha=6, target_modules=["q_proj"], target_parameters=[*EXPERTS, "gate.weight"], rank_pattern={"experts.gate_up_proj": 5}), ["block_sparse_moe.experts.1.w1", "block_sparse_moe.experts.1.w2", "block_sparse_moe.experts.3.w3", "block_sparse_moe.gate"]),
    "granitemoe-experts": ("granitemoe", dict(r=2, lora_alpha=5, use_rslora=True, target_modules=[], target_parameters=[*EXPERTS, "router.weight"]), ["block_sparse_moe.input_linear", "block_sparse_moe.output_linear", "block_sparse_moe.router.layer"]),
    "granitemoeshared-experts": ("granitemoeshared", dict(r=2, lora_alpha=4, target_modules=["shared_mlp.input_linear"], target_parameters=["experts.down_proj"]), ["block_sparse_moe.output_linear", "shared_mlp.input_linear"]),
    "qwen3_moe-experts": ("qwen3_moe", dict(r=4, lora_alpha=8, target_modules=["o_proj"], target_parameters=["mlp.experts.gate_up_proj"]), ["mlp.experts.2.gate_proj", "mlp.experts.2.up_proj", "self_attn.o_proj"]),
    "qwen3_moe-gate": ("qwen3_moe", dict(r=4, lora_alpha=8, target_parameters=["mlp.gate.weight", "self_attn.q_proj.weight"]), ["mlp.gate", "self_attn.q_proj"]),
    "tied-embedding": ("llama3-rope", dict(r=4, lora_alpha=8, target_modules=["embed_tokens", "q_proj"]), ["self_attn.q_proj"]),
    "tied-embedding-dora": ("llama3-rope", dict(r=4, lora_alpha=8, use_dora=True, target_modules=["model.embed_tokens", "q_proj"]), ["self_attn.q_proj"]),
    "gemma-embedding": ("gemma", dict(r=2, lora_alpha=3, target_modules=["embed_tokens", "v_proj"]), ["self_attn.v_proj"]),
    "gpt2-embeddings": ("gpt2", dict(r=2, lora_alpha=3, target_modules=["wte", "wpe", "c_fc"], bias="lora_only"), ["mlp.c_fc"]),
    "untied-head": ("llama", dict(r=3, lora_alpha=6, target_modules=["embed_tokens", "lm_head", "v_proj"]), ["self_attn.v_proj"]),
    "tied-ensured": ("llama3-rope", dict(r=3, lora_alpha=6, target_modules=["lm_head", "q_proj"], ensure_weight_tying=True), ["self_attn.q_proj"]),
    "tied-ensured-full": ("llama3-rope", dict(r=3, lora_alpha=6, target_modules=["q_proj"], modules_to_save=["lm_head"], ensure_weight_tying=True), ["self_attn.q_proj"]),
}  # fmt: skip


PROMPTS = {
    "prompt-llama": ("llama", dict(num_virtual_tokens=5, prompt_tuning_init="TEXT", prompt_tuning_init_text="Hi", tokenizer_name_or_path="llama")),
    "prompt-gpt2": ("gpt2", dict(num_virtual_tokens=3, prompt_tuning_init="RANDOM")),
    "prompt-gemma": ("gemma", dict(num_virtual_tokens=4, prompt_tuning_init="TEXT", prompt_tuning_init_text="some words that are many", tokenizer_name_or_path="gemma")),
    "prompt-granite": ("granite", dict(num_virtual_tokens=2, prompt_tuning_init="SAMPLE_VOCAB")),
    "prompt-mixtral": ("mixtral", dict(num_virtual_tokens=6, prompt_tuning_init="RANDOM")),
}  # fmt: skip


def batch(vocabulary: int, generator: torch.Generator) -> dict:
    ids = torch.randint(3, vocabulary, (2, 11), generator=generator)
    mask = torch.ones_like(ids)
    mask[0, 8:] = 0
    labels = ids.masked_fill(mask == 0, -100)
    labels[0, :3] = -100
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def serialised(model, gradients: bool) -> dict:
    """The tensors of the adapter under their names in a file, or their gradients."""
    found = {name: p.grad if gradients else p.detach() for name, p in model.named_parameters(remove_duplicate=False) if p.requires_grad}
    state = model.state_dict()
    state.update(found)
    trained = get_peft_model_state_dict(model, state_dict=state, save_embedding_layers=False)
    return {name: tensor.clone() for name, tensor in trained.items()}


def add_tied_gradients(tensors: dict) -> None:
    """PEFT gives the two views of tied factors a gradient each; what is learnt by one memory is their sum."""
    embedding, head = "grad.base_model.model.model.embed_tokens.lora_embedding_", "grad.base_model.model.lm_head.lora_"
    for ours, theirs in (("A", "B"), ("B", "A")):
        total = tensors[embedding + ours] + tensors[f"{head}{theirs}.weight"].T
        tensors[embedding + ours] = total
        tensors[f"{head}{theirs}.weight"] = total.T.contiguous()


def make(case: str) -> None:
    base, options, merged = CASES[case]
    torch.manual_seed(3)
    generator = torch.Generator().manual_seed(7)
    source = FIXTURES / "models" / base
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, attn_implementation="eager").eval()
    plain = model.state_dict()
    model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", base_model_name_or_path=f"../../models/{base}", **options)).eval()
    with torch.no_grad():
        for _, p in model.named_parameters():
            if p.requires_grad:
                p.add_(0.1 * torch.randn(p.shape, generator=generator))
    inputs = batch(model.config.vocab_size, generator)
    out = model(**inputs)
    out.loss.backward()
    folder = FIXTURES / "lora" / case
    folder.mkdir(exist_ok=True)
    model.base_model.config._name_or_path = f"../../models/{base}"
    with tempfile.TemporaryDirectory() as saved:
        model.save_pretrained(saved)
        weights = load_file(Path(saved) / "adapter_model.safetensors")
        config = json.loads((Path(saved) / "adapter_config.json").read_text())
        (folder / "adapter_model.safetensors").write_bytes((Path(saved) / "adapter_model.safetensors").read_bytes())
    config["base_model_name_or_path"] = f"../../models/{base}"
    for key in ("target_modules", "target_parameters"):
        if isinstance(config[key], list):
            config[key] = sorted(config[key])
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    tensors = {"logits": out.logits.detach(), "loss": out.loss.detach(), **{name: value.int() for name, value in inputs.items()}}
    tensors.update({f"grad.{name}": value for name, value in serialised(model, True).items()})
    trainable = sum({p.data_ptr(): p.numel() for p in model.parameters() if p.requires_grad}.values())
    if case == "tied-ensured":
        add_tied_gradients(tensors)
    model = model.merge_and_unload()
    with torch.no_grad():
        moved = (model(**inputs).logits - out.logits).abs().max().item()
    with tempfile.TemporaryDirectory() as saved:
        model.save_pretrained(saved)
        stored = load_file(Path(saved) / "model.safetensors")
    prefix = "transformer.h.1" if base == "gpt2" else "model.layers.1"
    names = [f"{prefix}.{module}.weight" for module in merged]
    # PEFT adds the change of tied factors to the weight that both modules share once for each of them.
    if ("embed" in case or "tied" in case) and case != "tied-ensured":
        names += [name for name in ("model.embed_tokens.weight", "lm_head.weight", "transformer.wte.weight") if name in stored]
    for name in names:
        tensors[f"merged.{name}"] = stored[name]
    save_file({name: value.contiguous() for name, value in tensors.items()}, folder / "expected.safetensors")
    expected = {"case": case, "base": f"models/{base}", "loss": out.loss.item(), "trainable_parameters": trainable}
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
    print(f"{case:26} loss {out.loss.item():.6f}, {trainable} trained, logits move by {moved:.1e} when PEFT merges")


def make_prompt(case: str) -> None:
    base, options = PROMPTS[case]
    torch.manual_seed(3)
    generator = torch.Generator().manual_seed(7)
    source = FIXTURES / "models" / base
    relative = f"../../models/{base}"
    if "tokenizer_name_or_path" in options:
        options = {**options, "tokenizer_name_or_path": str(source)}
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, attn_implementation="eager").eval()
    model = get_peft_model(model, PromptTuningConfig(task_type="CAUSAL_LM", **options)).eval()
    prompt = model.prompt_encoder["default"].embedding.weight
    initial = prompt.detach().clone()
    with torch.no_grad():
        prompt.add_(0.1 * torch.randn(prompt.shape, generator=generator))
    inputs = batch(model.config.vocab_size, generator)
    out = model(**inputs)
    out.loss.backward()
    folder = FIXTURES / "prompt-tuning" / case
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as saved:
        model.save_pretrained(saved)
        config = json.loads((Path(saved) / "adapter_config.json").read_text())
        (folder / "adapter_model.safetensors").write_bytes((Path(saved) / "adapter_model.safetensors").read_bytes())
    config["base_model_name_or_path"] = relative
    if config["tokenizer_name_or_path"] is not None:
        config["tokenizer_name_or_path"] = relative
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    tensors = {"logits": out.logits.detach(), "loss": out.loss.detach(), "initial": initial, "grad.prompt_embeddings": prompt.grad}
    tensors.update({name: value.int() for name, value in inputs.items()})
    save_file({name: value.contiguous() for name, value in tensors.items()}, folder / "expected.safetensors")
    ids = inputs["input_ids"][1:]
    words = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False, eos_token_id=None, pad_token_id=0)
    expected = {"case": case, "base": f"models/{base}", "loss": out.loss.item(), "greedy": words[0, ids.shape[1] :].tolist()}
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
    print(case, out.loss.item(), expected["greedy"])


WEIGHTED = {
    "one": dict(r=3, lora_alpha=6, target_modules=["q_proj", "embed_tokens", "down_proj"]),
    "two": dict(r=3, lora_alpha=5, use_rslora=True, target_modules=["q_proj", "v_proj", "lm_head"]),
}  # fmt: skip
FACTORS = [0.7, -1.5]


def make_weighted(case: str) -> None:
    """Two adapters of llama and PEFT's combinations of them: logits, and the change of every weight that both have, or one.

    Combined in float64: PEFT's own float32 singular value decomposition is off by 6e-6 of the change here, and by 1e-5 in logits.
    """
    generator = torch.Generator().manual_seed(7)
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_pretrained(FIXTURES / "models/llama", dtype=torch.float32, attn_implementation="eager").eval()
    configs = {name: LoraConfig(task_type="CAUSAL_LM", base_model_name_or_path="../../models/llama", **options) for name, options in WEIGHTED.items()}
    model = get_peft_model(model, configs["one"], adapter_name="one").eval()
    model.add_adapter("two", configs["two"])
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "lora_" in name:
                p.add_(0.1 * torch.randn(p.shape, generator=generator))
    folder = FIXTURES / case
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as saved:
        model.save_pretrained(saved, save_embedding_layers=False)
        for name in WEIGHTED:
            (folder / name).mkdir(exist_ok=True)
            (folder / name / "adapter_model.safetensors").write_bytes((Path(saved) / name / "adapter_model.safetensors").read_bytes())
            config = json.loads((Path(saved) / name / "adapter_config.json").read_text())
            config["target_modules"] = sorted(config["target_modules"])
            config["base_model_name_or_path"] = "../../models/llama"
            (folder / name / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    inputs = batch(model.config.vocab_size, generator)
    tensors = {"input_ids": inputs["input_ids"].int()}
    model = model.double()
    for kind, options in {"cat": {}, "linear": {}, "svd": {}, "svd-1": {"svd_rank": 1}}.items():
        model.add_weighted_adapter(list(WEIGHTED), FACTORS, kind, combination_type=kind.removesuffix("-1"), **options)
        model.set_adapter(kind)
        with torch.no_grad():
            tensors[f"{kind}.logits"] = model(input_ids=inputs["input_ids"]).logits
            for name, module in model.base_model.model.named_modules():
                if hasattr(module, "get_delta_weight") and (".1." in name or ".layers." not in name):
                    tensors[f"{kind}.change.{name}"] = module.get_delta_weight(kind)
    assert all(value.dtype == torch.float64 for name, value in tensors.items() if name != "input_ids")
    rounded = {name: value if name == "input_ids" else value.float() for name, value in tensors.items()}
    save_file({name: value.contiguous() for name, value in rounded.items()}, folder / "expected.safetensors")
    print(case, [f"{name} {value.abs().max():.3f}" for name, value in tensors.items() if name.endswith("logits")])


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for name in sys.argv[1:] or [*CASES, *PROMPTS, "weighted-adapter"]:
        make_weighted(name) if name == "weighted-adapter" else make_prompt(name) if name in PROMPTS else make(name)
