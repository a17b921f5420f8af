"""Tokens per second of greedy decoding by Hugging Face Transformers on the CPU, batch 1: what src/generate.mjs times of this project.

The time of the prompt is not counted: it is that of a generation of one token, which is taken off that of all tokens.

    python generate.py --shape 135m --dtype bfloat16 --prompt 16 --tokens 128 --threads 2
"""
import argparse, json, time
import torch
import transformers
from train_step import SHAPES


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--shape", default="135m", choices=SHAPES)
    p.add_argument("--dtype", default="bfloat16")
    p.add_argument("--prompt", type=int, default=16)
    p.add_argument("--tokens", type=int, default=128)
    p.add_argument("--repeats", type=int, default=3)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--attention", default="sdpa")
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    cls, cfg_cls, kw = SHAPES[a.shape]
    torch.manual_seed(0)
    model = cls(cfg_cls(**kw, attn_implementation=a.attention)).to(getattr(torch, a.dtype)).eval()
    ids = torch.tensor([[3 + at * 7919 % (kw["vocab_size"] - 3) for at in range(a.prompt)]])

    def seconds(tokens):
        start = time.perf_counter()
        with torch.inference_mode():
            model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False, pad_token_id=0)
        return time.perf_counter() - start

    seconds(8)
    best = min(seconds(a.tokens) - seconds(1) for _ in range(a.repeats))
    print(json.dumps(dict(peer="hf-generate", torch=torch.__version__, transformers=transformers.__version__, shape=a.shape, dtype=a.dtype, prompt=a.prompt, tokens=a.tokens,
        threads=a.threads, tokens_per_second=round((a.tokens - 1) / best, 2))))


if __name__ == "__main__":
    main()
