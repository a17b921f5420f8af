// Breaks the kernels of the cuda device one edit at a time, and shows which run notices: the tests on the emulated device, with threads in
// order, reversed and at random, or the detector of races and of accesses out of bounds. Ends with 1 when nothing notices a mutant.
//   node packages-private/cuda-emulator/test/mutants.mjs [words of a name…]
// Edits files of the working tree and puts them back; takes about a minute a mutant.
import { execFileSync, spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../..", import.meta.url));
const PACKING = "attention-and-distributed-packing";

/** [what, file, old text, new text, which occurrence, test file, package or else tensor] */
const MUTANTS = [
  ["nothing changed", "softmax.cu", "double sum = 0;", "double sum = 0;", 0, "softmax"],
  [
    "block_join: no barrier before the read",
    "reduction.h",
    "  __syncthreads();\n  value = parts[0];",
    "  value = parts[0];",
    0,
    "cross-entropy",
  ],
  ["block_join: no barrier after the read", "reduction.h", "  __syncthreads();  // parts", "  // parts", 0, "rms-norm"],
  ["warp_join: half of the warp is left out", "reduction.h", "distance = 16;", "distance = 8;", 0, "softmax"],
  [
    "cross entropy: the end of a row is overrun",
    "cross_entropy.cu",
    "i < c.classes; i += kThreads",
    "i < c.classes + 8; i += kThreads",
    0,
    "cross-entropy",
  ],
  [
    "cross entropy: the row's label is off by one",
    "cross_entropy.cu",
    "i == label",
    "i == label + 1",
    0,
    "cross-entropy",
  ],
  [
    "elementwise: the tail is stored whole",
    "elementwise.cu",
    "if (is_whole) {\n      store4",
    "if (true) {\n      store4",
    0,
    "elementwise",
  ],
  [
    "elementwise: vectors where memory is not aligned",
    "elements.h",
    "% 16 == 0;\n}",
    "% 16 < 16;\n}",
    0,
    "elementwise",
  ],
  [
    "gather: the line's stride is lost",
    "indexing.cu",
    "at[1] + index[at[2] + j * index_stride] * x_stride",
    "at[1] + index[at[2] + j] * x_stride",
    0,
    "indexing",
  ],
  [
    "index_add: every position begins a run",
    "indexing.cu",
    "(begin > 0 && pairs[begin - 1].key == row)",
    "false",
    0,
    "indexing",
  ],
  ["index check: the bound is off by one", "indexing.cu", "value < size)", "value <= size)", 0, "indexing"],
  [
    "sort: no barrier between steps",
    "sort.cu",
    "compare(&tile[at], &tile[at + distance], (begin + at) % length, size);\n      __syncthreads();",
    "compare(&tile[at], &tile[at + distance], (begin + at) % length, size);",
    0,
    "indexing",
  ],
  [
    "cumsum: no barrier before the sum is written",
    "reduce.cu",
    "      __syncthreads();\n      scan[threadIdx.x] =",
    "      scan[threadIdx.x] =",
    0,
    "reduce",
  ],
  ["reduce: the last segment is dropped", "reduce.cu", "s < segments; ++s", "s < segments - 1; ++s", 0, "reduce"],
  [
    "matmul: no barrier after a tile is stored",
    "matmul.cu",
    "      __syncthreads();\n      if (k0 + kSteps",
    "      if (k0 + kSteps",
    0,
    "matmul",
  ],
  [
    "matmul: no barrier before a tile is stored",
    "matmul.cu",
    "      __syncthreads();\n      if ((k0 + kSteps)",
    "      if ((k0 + kSteps)",
    0,
    "matmul",
  ],
  [
    "products: an operand is transposed twice",
    "matmul_bf16.cu",
    "ldmatrix_x4_transposed(",
    "ldmatrix_x4(",
    0,
    "cuda/products",
  ],
  [
    "products: no barrier before a stage is replaced",
    "matmul_bf16.cu",
    "    __syncthreads();  // the tile is there",
    "    // the tile is there",
    0,
    "cuda/products",
  ],
  [
    "products: the last tile but one is waited for",
    "matmul_bf16.cu",
    "copy_async_wait<Ring::kCount - 2>()",
    "copy_async_wait<Ring::kCount - 1>()",
    0,
    "cuda/products",
  ],
  [
    "products: no empty groups behind the last tile",
    "matmul_bf16.cu",
    "if constexpr (IsAsync) copy_async_commit();",
    "if (IsAsync && started <= tiles) copy_async_commit();",
    0,
    "cuda/products",
  ],
  [
    "products: an edge is not filled with zeros",
    "matmul_bf16.cu",
    "along < 8 ? static_cast<int>(along) : 8",
    "8",
    0,
    "cuda/products",
  ],
  ["products: the tail goes on behind the factors", "matmul_bf16.cu", "        k0 = 0;\n", "", 0, "low-rank-linear"],
  [
    "groups: the steps of k of all groups are summed",
    "product_kernels.h",
    "p.k = length;",
    "p.k = rows;",
    0,
    "grouped-linear",
  ],
  [
    "groups: the second launch begins anew",
    "matmul.cu",
    "std::copy_n(grouped.groups + first,",
    "std::copy_n(grouped.groups,",
    0,
    "grouped-linear",
  ],
  [
    "groups: a group of many rows of blocks begins where the one before does",
    "product_kernels.h",
    "begin_of(first + middle) / block_size + middle <= row",
    "begin_of(first + middle) / block_size < row",
    0,
    "grouped-linear",
  ],
  [
    "groups: copies of rows that begin anywhere",
    "matmul.cu",
    "if (a_step % 8 != 0) return false;",
    "",
    0,
    "grouped-linear",
  ],
  [
    "rows of groups: a warp's places are those of the one before",
    "indexing.cu",
    "if (w < warp) at += own_of_warp[w];",
    "if (w + 1 < warp) at += own_of_warp[w];",
    0,
    "grouped-linear",
  ],
  [
    "rows of groups: counts are replaced while they are read",
    "indexing.cu",
    "    __syncthreads();  // own_of_warp may be written again",
    "",
    0,
    "grouped-linear",
  ],
  [
    "attention: the causal mask is off by one",
    "flash_tiles.h",
    "min_of(p.keys, position + 1)",
    "min_of(p.keys, position + 2)",
    0,
    "attention",
  ],
  [
    "attention: keys are seen by too few queries of a window",
    "flash_tiles.h",
    "first + keys - 1 - offset + p.window",
    "first - offset + p.window",
    0,
    "attention",
  ],
  [
    "float attention: tiles are replaced while they are read",
    "flash_attention_float.cu",
    "    __syncthreads();  // the tiles have been read",
    "    // the tiles have been read",
    0,
    "attention",
  ],
  [
    "float attention: weights are replaced while they are read",
    "flash_attention_float.cu",
    "    __syncthreads();  // weights and values have been read",
    "    // weights and values have been read",
    0,
    "attention",
  ],
  [
    "float attention: sums keep an old maximum",
    "flash_attention_float.cu",
    "sums[i] *= factor;",
    "sums[i] *= 1.0f;",
    0,
    "attention",
  ],
  [
    "float attention: every block has the first columns of a wide head",
    "flash_attention_float.cu",
    "block % parts * Columns",
    "block % parts * 0",
    0,
    "attention",
  ],
  [
    "flash attention: no barrier before the values are replaced",
    "flash_attention.cu",
    "    __syncthreads();  // the keys are there",
    "    // the keys are there",
    0,
    "attention",
  ],
  [
    "flash attention: the values are not waited for",
    "flash_attention.cu",
    "    copy_async_wait_all();\n    __syncthreads();  // the values are there",
    "    __syncthreads();  // the values are there",
    0,
    "attention",
  ],
  [
    "flash attention: sums keep an old maximum",
    "flash_attention.cu",
    "sums[half] *= factor;",
    "sums[half] *= 1.0f;",
    0,
    "attention",
  ],
  [
    "flash attention: whole tiles are not told from others",
    "flash_tiles.h",
    "return p.key_mask == nullptr &&",
    "return p.key_mask != nullptr ||",
    0,
    "attention",
  ],
  [
    "flash attention backward: no barrier before queries are replaced",
    "flash_attention_backward.cu",
    "__syncthreads();  // the tiles before have been read",
    "// the tiles before have been read",
    1,
    "attention",
  ],
  [
    "flash attention backward: only the first head of a group",
    "flash_attention_backward.cu",
    "head < (kv_head + 1) * group",
    "head < kv_head * group + 1",
    0,
    "attention",
  ],
  [
    "flash attention backward: every block has the first columns of a wide head",
    "flash_attention_backward.cu",
    "g_tile + column0",
    "g_tile",
    0,
    "attention",
  ],
  [
    "RMS norm: values meet the weight unrounded",
    "rms_norm.cu",
    "rounded(n.dtype, __fmul_rn(values[e], scale))",
    "__fmul_rn(values[e], scale)",
    0,
    "rms-norm",
  ],
  [
    "RMS norm: the last segment of rows is dropped",
    "rms_norm.cu",
    "s < segments; ++s",
    "s < segments - 1; ++s",
    0,
    "rms-norm",
  ],
  [
    "rotary: the turn goes back",
    "rotary.cu",
    "h == 0 ? -x[1][e] : x[0][e]",
    "h == 0 ? x[1][e] : -x[0][e]",
    0,
    "rotary",
  ],
  [
    "SwiGLU: silu(gate) meets up unrounded",
    "swiglu.cu",
    "rounded(p.dtype, silu_of(x[e])) * u[e]",
    "silu_of(x[e]) * u[e]",
    0,
    "swiglu",
  ],
  [
    "SwiGLU: vectors where rows begin anywhere",
    "swiglu.cu",
    "p.walk.strides[k][d] % 4 != 0",
    "p.walk.strides[k][d] % 4 == 4",
    0,
    "swiglu",
  ],
  ["few rows: lanes are not joined", "few_rows.cu", "warp_join<Sum<float>>(sums[row])", "sums[row]", 0, "few-rows"],
  [
    "staging: a pinned buffer is written while it is read",
    "staging.cc",
    "require(cudaEventSynchronize(buffers_[current_].read));",
    ";",
    0,
    "cuda/device",
  ],
  ["dropout: the wrong word decides", "random.cu", "words.word[e], values[e]", "words.word[0], values[e]", 0, "random"],
  [
    "AdamW: a piece is skipped at the border of two tensors",
    "optimizer.cu",
    "first[middle] <= block",
    "first[middle] < block",
    0,
    "adamw",
  ],
  [
    "norm: partial sums of a second launch overwrite the first",
    "optimizer.cu",
    "partial + done",
    "partial",
    0,
    "clip-grad-norm",
  ],
  [
    "variable-length attention: no barrier before the values are replaced",
    "forward.cu",
    "    __syncthreads();  // the keys are there",
    "    // the keys are there",
    0,
    "cuda/kernels",
    PACKING,
  ],
  [
    "variable-length attention: the values are not waited for",
    "forward.cu",
    "    copy_async_wait_all();\n    __syncthreads();  // the values are there",
    "    __syncthreads();  // the values are there",
    0,
    "cuda/kernels",
    PACKING,
  ],
  [
    "variable-length attention: rows of the next sequence are read",
    "tiles.h",
    "first + row < x.length && column < x.dim",
    "column < x.dim",
    0,
    "cuda/kernels",
    PACKING,
  ],
  [
    "variable-length attention: a key behind the end of a sequence is seen",
    "sequences.h",
    "Range range{0, a.is_causal ? i + 1 : length};",
    "Range range{0, a.is_causal ? i + 1 : length + 1};",
    0,
    "cuda/kernels",
    PACKING,
  ],
  [
    "variable-length attention: wrong bounds are believed",
    "sequences.h",
    "max_of(0, min_of(bounds.cu_seqlens[s], bounds.tokens))",
    "static_cast<int64_t>(bounds.cu_seqlens[s])",
    0,
    "cuda/kernels",
    PACKING,
  ],
  [
    "variable-length attention: a strip of weights is read before it is written",
    "steps.h",
    "    __syncwarp();\n    for (int k",
    "    for (int k",
    0,
    "cuda/kernels",
    PACKING,
  ],
  [
    "variable-length attention backward: no barrier before queries are replaced",
    "key_gradients.cu",
    "__syncthreads();  // the tiles before have been read",
    "// the tiles before have been read",
    0,
    "cuda/kernels",
    PACKING,
  ],
  [
    "variable-length attention backward: only the first head of a group",
    "key_gradients.cu",
    "head < (kv_head + 1) * group",
    "head < kv_head * group + 1",
    0,
    "cuda/kernels",
    PACKING,
  ],
];

function mutated(text, old, replacement, occurrence) {
  const parts = text.split(old);
  if (parts.length <= occurrence + 1) throw new Error(`not found: ${old}`);
  return parts.slice(0, occurrence + 1).join(old) + replacement + parts.slice(occurrence + 1).join(old);
}

function compile(name, variant) {
  const build = join(root, "packages", name, "build");
  const target = `fms_accel_${name.replaceAll("-", "_")}_${variant}`;
  execFileSync("cmake", ["--build", build, "--config", "Release", "--parallel", "2", "--target", target], {
    stdio: "pipe",
  });
}

function run(emulator, test, order, name) {
  const environment = { FMS_ACCEL_CUDA_EMULATOR: emulator, FMS_ACCEL_TEST_DEVICE: "cuda", CUDA_EMULATOR_ORDER: order };
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ["node_modules/vitest/vitest.mjs", "run", "--maxWorkers=1", "--bail=1", `packages/${name}/test/${test}.test.ts`],
    { cwd: root, encoding: "utf8", env: { ...process.env, ...environment, NO_COLOR: "1" } },
  );
  if (status === 0) return undefined;
  const fault = /race on \w+ memory|out of bounds|deadlock|divergent \w+|device memory was written/.exec(
    stdout + stderr,
  );
  return fault?.[0] ?? (status === null ? "crash" : "wrong numbers");
}

const words = process.argv.slice(2);
let unnoticed = 0;
for (const [what, file, old, replacement, occurrence, test, name = "tensor"] of MUTANTS) {
  if (!words.every((word) => what.includes(word))) continue;
  const path = join(root, "packages", name, "native/cuda", file);
  const good = readFileSync(path, "utf8");
  const verdicts = [];
  try {
    writeFileSync(path, mutated(good, old, replacement, occurrence));
    for (const [emulator, order] of [
      ["1", "forward"],
      ["1", "reverse"],
      ["1", "random:3"],
      ["checked", "forward"],
    ]) {
      compile(name, emulator === "1" ? "emulated" : "checked");
      const verdict = run(emulator, test, order, name);
      if (verdict !== undefined) verdicts.push(`${emulator === "1" ? order : "checks"}: ${verdict}`);
      if (verdict !== undefined && emulator === "1") break;
    }
  } finally {
    writeFileSync(path, good);
  }
  const isControl = old === replacement;
  if (isControl ? verdicts.length > 0 : verdicts.length === 0) unnoticed += 1;
  console.log(`${what.padEnd(60)} ${verdicts.join("; ") || "not noticed"}`);
}
process.exitCode = unnoticed > 0 ? 1 : 0;
