"""Writes rotary frequencies as transformers computes them: packages-private/fixtures/rope-frequencies.json.

    python scripts/compare/rope_frequencies.py > packages-private/fixtures/rope-frequencies.json

Needs the pinned peers (torch, transformers); for comparing only.
"""
import json

import torch
import transformers
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

half = [1.0 + 0.05 * i for i in range(32)]
long = [1.0 + 0.5 * i for i in range(32)]
SHAPE = dict(hidden_size=512, num_attention_heads=8, num_hidden_layers=1, intermediate_size=8, vocab_size=8)  # heads of 64
CASES = [
    (2048, dict(rope_type="default", rope_theta=10000.0), [1]),
    (8192, dict(rope_type="default", rope_theta=500000.0), [1]),
    (4096, dict(rope_type="linear", rope_theta=10000.0, factor=2.7), [1]),
    (256, dict(rope_type="dynamic", rope_theta=10000.0, factor=3.0), [255, 256, 257, 700, 4096]),
    (8192, dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=2048), [1]),
    (8192, dict(rope_type="yarn", rope_theta=10000.0, factor=None, original_max_position_embeddings=1024, beta_fast=24.0, beta_slow=2.0, truncate=False), [1]),
    (8192, dict(rope_type="yarn", rope_theta=1000000.0, factor=40.0, original_max_position_embeddings=4096, mscale=0.7, mscale_all_dim=1.3), [1]),
    (8192, dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=2048, attention_factor=1.7), [1]),
    (8192, dict(rope_type="longrope", rope_theta=10000.0, short_factor=half, long_factor=long, original_max_position_embeddings=1024), [1, 1024, 1025, 5000]),
    (8192, dict(rope_type="longrope", rope_theta=10000.0, factor=16.0, short_factor=half, long_factor=long, original_max_position_embeddings=1024), [8]),
    (131072, dict(rope_type="llama3", rope_theta=500000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=8192), [1]),
    (131072, dict(rope_type="llama3", rope_theta=500000.0, factor=32.0, low_freq_factor=1.5, high_freq_factor=3.0, original_max_position_embeddings=4096), [1]),
]

cases = []
for length, rope, calls in CASES:
    config = dict(SHAPE, max_position_embeddings=length, rope_parameters=rope)
    for call in calls:
        embedding = LlamaRotaryEmbedding(LlamaConfig(**json.loads(json.dumps(config))))
        embedding(torch.zeros(1), torch.tensor([[call - 1]]))
        cases.append(dict(config, length=call, frequencies=embedding.inv_freq.tolist(), attention_scaling=float(embedding.attention_scaling)))
print(json.dumps({"transformers": transformers.__version__, "torch": torch.__version__, "cases": cases}, separators=(",", ":")))
