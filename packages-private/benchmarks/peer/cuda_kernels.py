"""Times PyTorch's kernels on the shapes of packages/tensor/bench/cuda.mjs: the same columns, to be read beside that file.

  python cuda_kernels.py --csv FILE
"""

import argparse
import csv
import time

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

parser = argparse.ArgumentParser()
parser.add_argument("--csv", required=True)
options = parser.parse_args()
device = torch.cuda.get_device_name()
rows = []


def seconds_of(body):
    def timed(count):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(count):
            body()
        torch.cuda.synchronize()
        return time.perf_counter() - start

    timed(2)
    count = max(1, min(200, round(0.05 / (timed(3) / 3))))
    return min(timed(count) / count for _ in range(5))


def report(name, shape, dtype, body, bytes=None, flops=None):
    seconds = seconds_of(body)
    bandwidth = "" if bytes is None else f"{bytes / seconds / 1e9:.0f}"
    rate = "" if flops is None else f"{flops / seconds / 1e12:.1f}"
    rows.append([device, name, shape, str(dtype).removeprefix("torch."), f"{seconds * 1e6:.1f}", bandwidth, rate])
    print("  ".join(rows[-1]))


for dtype in (torch.bfloat16, torch.float32):
    size = dtype.itemsize
    tokens, width = 8192, 4096
    x, y, target = (torch.randn(tokens, width, device="cuda", dtype=dtype) for _ in range(3))
    weight = torch.randn(width, device="cuda", dtype=dtype)
    shape, count = f"{tokens}x{width}", tokens * width
    report("copy", shape, dtype, lambda: target.copy_(x), 2 * count * size)
    report("add", shape, dtype, lambda: x + y, 3 * count * size)
    report("silu", shape, dtype, lambda: F.silu(x), 2 * count * size)
    report("softmax", shape, dtype, lambda: x.softmax(-1), 2 * count * size)
    report("rmsNorm", shape, dtype, lambda: F.rms_norm(x, (width,), weight, 1e-5), 2 * count * size)
    for m, k, n in ((4096, 4096, 4096), (8192, 4096, 11008), (8192, 2048, 2048), (2048, 576, 1536)):
        a, b = torch.randn(m, k, device="cuda", dtype=dtype), torch.randn(n, k, device="cuda", dtype=dtype)
        report("linear", f"{m}x{k}x{n}", dtype, lambda: F.linear(a, b), flops=2 * m * n * k)
    batch, heads, length, dim = 4, 32, 2048, 128
    q, k, v = (torch.randn(batch, heads, length, dim, device="cuda", dtype=dtype, requires_grad=True) for _ in range(3))
    shape, flops = f"{batch}x{heads}x{length}x{dim} causal", 2 * batch * heads * length * length * dim
    backends = [SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION] if size == 2 else [SDPBackend.EFFICIENT_ATTENTION]
    for backend in backends:
        with sdpa_kernel(backend):

            def forward():
                with torch.no_grad():
                    return F.scaled_dot_product_attention(q, k, v, is_causal=True)

            def both():
                F.scaled_dot_product_attention(q, k, v, is_causal=True).sum().backward()
                q.grad = k.grad = v.grad = None

            report(f"attention forward ({backend.name})", shape, dtype, forward, flops=flops)
            report(f"attention forward and backward ({backend.name})", shape, dtype, both, flops=3.5 * flops)

with open(options.csv, "w", newline="") as file:
    writer = csv.writer(file, delimiter=";", quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    writer.writerow(["device", "name", "shape", "dtype", "microseconds", "gigabytesPerSecond", "teraflops"])
    writer.writerows(rows)
