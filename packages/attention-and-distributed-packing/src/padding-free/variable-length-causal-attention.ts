import type { AttentionContext, AttentionFunction, AttendOptions } from "@fms-accel/models";
import { reshape, type Tensor } from "@fms-accel/tensor";
import { nativeAddon } from "../native.ts";
import { MOST_HEAD_DIM, variableLengthAttention } from "../ops/variable-length-attention.ts";

/**
 * The attention of a model's layers by the variable-length kernel, where a forward call's sequences lie one behind the other. Where the
 * kernel cannot do what is asked for, the engine's attention does it, which keeps sequences apart by comparing all tokens of a row.
 *
 * @param onFallback told why, once for each reason
 */
export function variableLengthCausalAttention(onFallback: (reason: string) => void): AttentionFunction {
  const told = new Set<string>();
  return (q, k, v, context, options) => {
    const reason = reasonAgainst(q, context, options);
    if (reason === undefined) return attend(q, k, v, context.cuSeqlens!, options);
    if (reason !== CACHED && !told.has(reason)) {
      told.add(reason);
      onFallback(reason);
    }
    return undefined;
  };
}

// Generating text is no training: nobody expects it to be free of padding.
const CACHED = "keys are cached";

function reasonAgainst(q: Tensor, context: AttentionContext, options: AttendOptions): string | undefined {
  if (context.cache !== undefined) return CACHED;
  if (options.dropout > 0) return `attention weights are dropped at random (with probability ${options.dropout})`;
  if (q.device !== "cpu" && nativeAddon().cudaBuild === "none") {
    return `the model is on ${q.device}, and the plugin was built without CUDA (build it again where nvcc is found)`;
  }
  const headDim = q.shape[3]!;
  if (headDim > MOST_HEAD_DIM) return `heads have ${headDim} dimensions, more than the kernel's ${MOST_HEAD_DIM}`;
  if (context.cuSeqlens === undefined) return "a batch has padding on the left, or sequences that do not lie together";
  return undefined;
}

function attend(q: Tensor, k: Tensor, v: Tensor, cuSeqlens: Tensor, options: AttendOptions): Tensor {
  const { scale, window, softCap } = options;
  const attended = variableLengthAttention(
    rowsBehindEachOther(q),
    rowsBehindEachOther(k),
    rowsBehindEachOther(v),
    cuSeqlens,
    {
      isCausal: true,
      scale,
      window,
      softCap,
    },
  );
  return reshape(attended, q.shape);
}

/** `[B, T, heads, D]` to `[B·T, heads, D]`. */
function rowsBehindEachOther(x: Tensor): Tensor {
  const [batch, length, heads, dim] = x.shape as [number, number, number, number];
  return reshape(x, [batch * length, heads, dim]);
}
