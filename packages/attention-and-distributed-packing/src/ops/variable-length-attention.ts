import {
  adoptTensor,
  autocastDtype,
  contiguous,
  isFloating,
  recordOperation,
  type Tensor,
  TensorError,
} from "@fms-accel/tensor";
import { type AttentionSettings, nativeAddon } from "../native.ts";

/** Of a head, as the kernels check it. */
export const MOST_HEAD_DIM = 256;

export interface VariableLengthAttentionOptions {
  /** Factor of the scores, from 1e-12 to 1e6; default 1 / √head_dim. */
  scale?: number | undefined;
  /** A token sees tokens up to its own position only. */
  isCausal?: boolean | undefined;
  /** A token sees tokens at a distance below `window` only: with `isCausal`, the last `window` up to its own position. */
  window?: number | undefined;
  /** Scores become softCap · tanh(score / softCap) (Gemma 2). */
  softCap?: number | undefined;
}

/**
 * softmax(scale · q · kᵀ) · v within each of several sequences that lie one behind the other: sequence s owns the tokens
 * [cuSeqlens[s], cuSeqlens[s + 1]), and no token costs anything for those of other sequences. Memory is linear in the tokens; backward
 * computes the scores again (Dao et al., FlashAttention, 2022 and 2023). Softmax and sums are float32; the same bits with any number of
 * threads.
 *
 * q [tokens, heads, head_dim], k and v [tokens, kv_heads, head_dim], floating and of any dtypes, heads a multiple of kv_heads (grouped
 * queries), head_dim up to 256 (fast in multiples of 16). cuSeqlens int32 [sequences + 1] rises from 0 to the number of tokens; sequences
 * may be empty. All lie on one device. On cuda nothing waits for cuSeqlens: where its values are wrong, no other memory is touched, and
 * the error comes when something next waits for the device. The result [tokens, heads, head_dim] is contiguous and has q's dtype, or that
 * of `autocast`; gradients have the dtypes of their operands. Composed reference: `scaledDotProductAttention` with segments
 * (test/variable-length-attention.test.ts).
 *
 * @throws TensorError on operands that do not fit together, or where the kernels are not built
 */
export function variableLengthAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  cuSeqlens: Tensor,
  options: VariableLengthAttentionOptions = {},
): Tensor {
  const { window, softCap } = options;
  if (q.ndim !== 3 || !isFloating(q.dtype)) {
    throw new TensorError(
      `variableLengthAttention: expected q as floating [tokens, heads, head_dim], found ${q.dtype} [${q.shape.join(", ")}]`,
    );
  }
  // 0 means none to the addon; as an option it would be a mistake.
  if (window !== undefined && !(Number.isSafeInteger(window) && window > 0)) {
    throw new TensorError(`variableLengthAttention: the window must be a positive integer, found ${window}`);
  }
  if (softCap !== undefined && !(softCap > 0)) {
    throw new TensorError(`variableLengthAttention: the soft cap must be positive, found ${softCap}`);
  }
  const dtype = autocastDtype() ?? q.dtype;
  const settings: AttentionSettings = [
    options.scale ?? 1 / Math.sqrt(q.shape[2]!),
    softCap ?? 0,
    options.isCausal ?? false,
    window ?? 0,
    dtype === "bfloat16",
    dtype,
  ];
  const addon = nativeAddon();
  const [query, key, value] = [wholeHeads(q), wholeHeads(k), wholeHeads(v)];
  const operands = [query.handle, key.handle, value.handle, cuSeqlens.handle] as const;
  const [out, lse] = addon.variableLengthAttention(...operands, ...settings).map(adoptTensor) as [Tensor, Tensor];
  const savedOut = out.detach();
  const inputs = [query, key, value];
  recordOperation(
    "variableLengthAttention",
    out,
    inputs,
    [...inputs, cuSeqlens, savedOut, lse],
    (gradient): Tensor[] => {
      const outGradient = wholeHeads(gradient);
      return addon
        .variableLengthAttentionGradients(...operands, savedOut.handle, lse.handle, outGradient.handle, ...settings)
        .map(adoptTensor);
    },
  );
  if (!out.requiresGrad) {
    savedOut.dispose();
    lse.dispose();
  }
  return out;
}

function wholeHeads(x: Tensor): Tensor {
  return x.strides.at(-1) === 1 || x.shape.at(-1) === 1 ? x : contiguous(x);
}
