"""Tokens per second of one training step by Hugging Face Transformers + PEFT, on the CPU (or a GPU if there is one).

The same work is to be timed by this project in the same run, on the same machine, with as many threads.
A step is: forward, loss, backward, clip to norm 1, AdamW, zero the gradients. The best of eager and (with --compile)
torch.compile counts. Throughput is of trainable-or-not real tokens: padding is work done for nothing and is not counted.

    python train_step.py --shape 135m --method lora --dtype bfloat16 --lengths 512,512,512,512
    python train_step.py --shape moe --method full --dtype float32 --lengths orca --batch 8
"""
import argparse, json, resource, statistics, time
import torch
from transformers import LlamaConfig, LlamaForCausalLM, MixtralConfig, MixtralForCausalLM

SHAPES = {
    # SmolLM-135M's shape: 30 layers of hidden 576, 9 heads of 64, 3 key-value heads
    "135m": (LlamaForCausalLM, LlamaConfig, dict(vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30,
             num_attention_heads=9, num_key_value_heads=3, max_position_embeddings=8192, tie_word_embeddings=True)),
    # Four layers of Llama-3.2-1B's shape: wide layers, large vocabulary
    "1b-4l": (LlamaForCausalLM, LlamaConfig, dict(vocab_size=128256, hidden_size=2048, intermediate_size=8192, num_hidden_layers=4,
              num_attention_heads=32, num_key_value_heads=8, head_dim=64, max_position_embeddings=8192, tie_word_embeddings=True)),
    # A small mixture of experts: 8 layers, 8 experts, 2 a token
    "moe": (MixtralForCausalLM, MixtralConfig, dict(vocab_size=32000, hidden_size=512, intermediate_size=1024, num_hidden_layers=8,
            num_attention_heads=8, num_key_value_heads=4, num_local_experts=8, num_experts_per_tok=2, max_position_embeddings=8192)),
    # Many small experts, as in GraniteMoE and Qwen3-MoE
    "moe-32": (MixtralForCausalLM, MixtralConfig, dict(vocab_size=32000, hidden_size=512, intermediate_size=256, num_hidden_layers=8,
               num_attention_heads=8, num_key_value_heads=4, num_local_experts=32, num_experts_per_tok=8, max_position_embeddings=8192)),
}
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def orca_lengths(n: int, seed: int = 0) -> list[int]:
    """Lengths as in Orca-math: gamma of shape 4 and mean 289 tokens ."""
    torch.manual_seed(seed)
    return (torch.distributions.Gamma(4.0, 4.0 / 289).sample((n,))).clamp(16, 2048).long().tolist()


def build(a):
    cls, cfg_cls, kw = SHAPES[a.shape]
    torch.manual_seed(0)
    cfg = cfg_cls(**kw, attn_implementation=a.attention, use_cache=False)
    dtype = getattr(torch, a.dtype)
    model = cls(cfg)
    if a.method == "qlora":
        import tempfile
        from transformers import BitsAndBytesConfig
        from peft import prepare_model_for_kbit_training
        with tempfile.TemporaryDirectory() as d:
            model.to(torch.bfloat16).save_pretrained(d)
            model = cls.from_pretrained(d, attn_implementation=a.attention, dtype=dtype, device_map=a.device,
                    quantization_config=BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype))
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=a.checkpointing)
    else:
        model.to(dtype).to(a.device)
        if a.checkpointing:
            model.gradient_checkpointing_enable()
            model.enable_input_require_grads()
    if a.method != "full":
        from peft import LoraConfig, get_peft_model
        model = get_peft_model(model, LoraConfig(r=16, lora_alpha=16, lora_dropout=a.dropout, target_modules=TARGETS if "moe" not in a.shape else TARGETS[:4], task_type="CAUSAL_LM"))
    model.train()
    return model, cfg


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--shape", default="135m", choices=SHAPES)
    p.add_argument("--method", default="lora", choices=["full", "lora", "qlora"])
    p.add_argument("--dtype", default="bfloat16")
    p.add_argument("--lengths", default="512", help="comma-separated sample lengths of one batch, or 'orca'")
    p.add_argument("--batch", type=int, default=8, help="samples in a batch when --lengths orca")
    p.add_argument("--steps", type=int, default=4)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--attention", default="sdpa")
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    p.add_argument("--dropout", type=float, default=0.0)
    p.add_argument("--checkpointing", action="store_true")
    p.add_argument("--compile", action="store_true")
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    model, cfg = build(a)
    trainable = [q for q in model.parameters() if q.requires_grad]
    opt = torch.optim.AdamW(trainable, lr=1e-4, fused=True)
    step_model = torch.compile(model) if a.compile else model
    lengths = orca_lengths(a.batch) if a.lengths == "orca" else [int(x) for x in a.lengths.split(",")]
    width = max(lengths)
    g = torch.Generator().manual_seed(1)
    ids = torch.randint(3, cfg.vocab_size, (len(lengths), width), generator=g)
    mask = (torch.arange(width)[None] < torch.tensor(lengths)[:, None]).long()
    labels = ids.masked_fill(mask == 0, -100)
    ids, mask, labels = (t.to(a.device) for t in (ids, mask, labels))
    sync = torch.cuda.synchronize if a.device == "cuda" else (lambda: None)
    times, loss = [], None
    for i in range(a.steps + 1):
        sync(); t = time.perf_counter()
        out = step_model(input_ids=ids, attention_mask=mask if len(set(lengths)) > 1 else None, labels=labels)
        out.loss.backward()
        torch.nn.utils.clip_grad_norm_(trainable, 1.0)
        opt.step(); opt.zero_grad()
        loss = out.loss.item(); sync()
        if i: times.append(time.perf_counter() - t)
    best = min(times)
    n = sum(q.numel() for q in model.parameters())
    print(json.dumps(dict(peer="hf-peft" + ("-compile" if a.compile else ""), torch=torch.__version__, shape=a.shape, method=a.method, dtype=a.dtype, samples=len(lengths), width=width,
        tokens=sum(lengths), checkpointing=a.checkpointing, threads=a.threads, seconds_best=round(best, 4), seconds_median=round(statistics.median(times), 4),
        tokens_per_second=round(sum(lengths) / best, 1), samples_per_second=round(len(lengths) / best, 3), loss=round(loss, 4),
        peak_mib=round((torch.cuda.max_memory_allocated() / 2**20) if a.device == "cuda" else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        trainable=sum(q.numel() for q in trainable), parameters=n)))


if __name__ == "__main__":
    main()
