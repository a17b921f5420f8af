import { autocastDtype } from "../autocast.ts";
import { needsTape, recordOperation } from "../autograd/tape.ts";
import { dtypeCode } from "../dtype.ts";
import { TensorError } from "../errors.ts";
import { native } from "../native.ts";
import { Tensor } from "../tensor.ts";
import { cast } from "./elementwise.ts";
import { contiguous } from "./shape.ts";

export interface AttentionOptions {
  /** Factor of the scores; default 1 / √head_dim. */
  scale?: number;
  /** Query i sees keys up to i + keys − queries (aligned at the end, as a cache needs it). */
  isCausal?: boolean;
  /** Integer or bool [batch, keys]; 0 hides a key. */
  keyMask?: Tensor;
  /** Query i sees the last `window` keys up to its position only. */
  window?: number;
  /** Scores become softCap · tanh(score / softCap) (Gemma 2). */
  softCap?: number;
  /** int32 [batch, queries] and [batch, keys]: a query sees the keys of its own number only (several sequences in one row). */
  querySegments?: Tensor;
  keySegments?: Tensor;
}

/**
 * softmax(scale · q · kᵀ + mask) · v, a block of query rows at a time: memory is linear in the sequence length.
 *
 * q [batch, heads, queries, dim], k [batch, kv_heads, keys, dim], v [batch, kv_heads, keys, value_dim]; heads is a multiple of
 * kv_heads (grouped queries). The result [batch, heads, queries, value_dim] has q's dtype, or that of `autocast`; it lies in memory
 * as [batch, queries, heads, value_dim], so `reshape(transpose(out, 1, 2), [batch, queries, heads · value_dim])` is no copy. Softmax
 * is float32. A query that sees no key gives 0. Backward recomputes the scores. Composed reference: matmul, where, softmax,
 * matmul (test/attention.test.ts).
 */
export function scaledDotProductAttention(q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions = {}): Tensor {
  if (q.ndim !== 4)
    throw new TensorError(
      `scaledDotProductAttention: expected q [batch, heads, queries, dim], found [${q.shape.join(", ")}]`,
    );
  const { window = 0, softCap = 0, isCausal = false } = options;
  if (options.window !== undefined && !(Number.isInteger(window) && window > 0)) {
    throw new TensorError(`scaledDotProductAttention: the window must be a positive integer, found ${window}`);
  }
  const dtype = autocastDtype() ?? q.dtype;
  const keyMask = options.keyMask && contiguous(cast(options.keyMask, "bool"));
  const querySegments = options.querySegments && contiguous(cast(options.querySegments, "int32"));
  const keySegments = options.keySegments && contiguous(cast(options.keySegments, "int32"));
  const settings = [
    options.scale ?? 1 / Math.sqrt(q.shape[3] as number),
    softCap,
    isCausal,
    window,
    keyMask?.handle,
    querySegments?.handle,
    keySegments?.handle,
    dtype === "bfloat16",
    dtypeCode(dtype),
  ] as const;
  const [outHandle, lseHandle] = native.attention(q.handle, k.handle, v.handle, ...settings);
  const out = new Tensor(outHandle);
  const inputs = [q, k, v];
  if (!needsTape(inputs)) {
    native.release(lseHandle);
    return out;
  }
  const lse = new Tensor(lseHandle);
  const savedOut = out.detach();
  const masks = [keyMask, querySegments, keySegments].filter((mask) => mask !== undefined);
  return recordOperation("scaledDotProductAttention", out, inputs, [...inputs, savedOut, lse, ...masks], (g) =>
    native
      .attentionGradients(q.handle, k.handle, v.handle, savedOut.handle, lse.handle, g.handle, ...settings)
      .map((handle) => new Tensor(handle)),
  );
}
