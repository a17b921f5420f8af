"""Samples per second of Hugging Face Transformers + PEFT on padded batches of given lengths, one step a batch, on the CPU.

    python padded_steps.py '[[300, 120, 511], [80, 90, 100]]' --dtype bfloat16 --threads 2
"""
import argparse, json, resource, time
import torch
from train_step import SHAPES, build


def main():
    p = argparse.ArgumentParser()
    p.add_argument("batches", type=json.loads, help="lengths of the samples of each batch, as JSON")
    p.add_argument("--shape", default="135m", choices=SHAPES)
    p.add_argument("--dtype", default="bfloat16")
    p.add_argument("--threads", type=int, default=2)
    a = p.parse_args()
    a.method, a.attention, a.device, a.dropout, a.checkpointing = "lora", "sdpa", "cpu", 0.0, False
    torch.set_num_threads(a.threads)
    model, cfg = build(a)
    trainable = [q for q in model.parameters() if q.requires_grad]
    opt = torch.optim.AdamW(trainable, lr=1e-4, fused=True)

    def step(lengths):
        width = max(lengths)
        ids = torch.randint(3, cfg.vocab_size, (len(lengths), width))
        mask = (torch.arange(width)[None] < torch.tensor(lengths)[:, None]).long()
        model(input_ids=ids, attention_mask=mask, labels=ids.masked_fill(mask == 0, -100)).loss.backward()
        torch.nn.utils.clip_grad_norm_(trainable, 1.0)
        opt.step()
        opt.zero_grad()

    step([64, 32])
    start = time.perf_counter()
    for lengths in a.batches:
        step(lengths)
    seconds = time.perf_counter() - start
    samples = sum(len(b) for b in a.batches)
    tokens = sum(sum(b) for b in a.batches)
    print(json.dumps(dict(layout="hf-peft padded", threads=a.threads, samples=samples, steps=len(a.batches), tokens=tokens,
        computed=sum(len(b) * max(b) for b in a.batches), seconds=seconds, samplesPerSecond=samples / seconds,
        tokensPerSecond=tokens / seconds, peakMib=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))))


if __name__ == "__main__":
    main()
