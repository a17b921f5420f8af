import {
  add,
  arange,
  cast,
  cat,
  checkpoint,
  dropout,
  eq,
  full,
  gt,
  le,
  logicalAnd,
  matmul,
  mul,
  reshape,
  scaledDotProductAttention,
  slice,
  softmax,
  sub,
  tanh,
  type Tensor,
  unsqueeze,
  where,
  zeros,
} from "@fms-accel/tensor";

/** Which keys a query may see, and how scores are made. Absent: nothing of the kind. */
export interface CausalAttentionOptions {
  /** Factor of the scores. */
  readonly scale: number;
  /** `[B, S]`, 0 at padding; of the last S positions where a cache gives fewer keys than that. */
  readonly keyMask?: Tensor | undefined;
  /** int32 `[B, T]`: queries see the keys of their own sequence only. */
  readonly querySegments?: Tensor | undefined;
  /** int32 `[B, S]`. */
  readonly keySegments?: Tensor | undefined;
  /** Each query sees this many keys up to its own position. */
  readonly window?: number | undefined;
  /** Scores become cap · tanh(score / cap). */
  readonly softCap?: number | undefined;
  /** Probability with which an attention weight is dropped; 0 outside training. */
  readonly dropout?: number | undefined;
}

/**
 * Causal attention, several query heads to a key/value head.
 * @param q `[B, H, T, D]`; the last query stands at the position of the last key
 * @param k `[B, Hkv, S, D]`
 * @param v `[B, Hkv, S, D]`
 * @returns `[B, H, T, D]` with q's dtype; zeros where a query sees no key
 */
export function causalAttention(q: Tensor, k: Tensor, v: Tensor, options: CausalAttentionOptions): Tensor {
  const { scale, querySegments, keySegments, window, softCap } = options;
  const keyMask = options.keyMask && lastColumns(options.keyMask, k.shape[2]!);
  if ((options.dropout ?? 0) > 0) {
    return composedAttention(q, k, v, { ...options, keyMask });
  }
  return scaledDotProductAttention(q, k, v, {
    scale,
    isCausal: true,
    ...(keyMask && { keyMask }),
    ...(querySegments && keySegments && { querySegments, keySegments }),
    ...(window !== undefined && { window }),
    ...(softCap !== undefined && { softCap }),
  });
}

/** Scores that are held at once, in numbers: 16 MiB. */
const SCORES_AT_ONCE = 2 ** 22;

/**
 * The same from primitive operations: what the engine's attention is measured against, and what serves where attention weights are
 * dropped at random in training. Works on a block of queries at a time, with the keys that these can see: the scores and the mask of all
 * queries are never held at once, not for backward either, which computes those of each block again.
 */
export function composedAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: CausalAttentionOptions,
  scoresAtOnce: number = SCORES_AT_ONCE,
): Tensor {
  const [batch, heads, queries] = q.shape as [number, number, number, number];
  const keys = k.shape[2]!;
  const rows = Math.max(1, Math.floor(scoresAtOnce / Math.max(1, batch * heads * keys)));
  if (queries <= rows) return attentionOfBlock(q, k, v, options);
  const { keyMask, querySegments, keySegments, window, ...plain } = options;
  const blocks: Tensor[] = [];
  for (let from = 0; from < queries; from += rows) {
    const to = Math.min(from + rows, queries);
    const lastKey = keys - queries + to;
    const firstKey = window === undefined ? 0 : Math.max(0, keys - queries + from - window + 1);
    const ofBlock: CausalAttentionOptions = {
      ...plain,
      window,
      keyMask: keyMask && slice(keyMask, 1, firstKey, lastKey),
      querySegments: querySegments && slice(querySegments, 1, from, to),
      keySegments: keySegments && slice(keySegments, 1, firstKey, lastKey),
    };
    blocks.push(
      checkpointBlock(slice(q, 2, from, to), slice(k, 2, firstKey, lastKey), slice(v, 2, firstKey, lastKey), ofBlock),
    );
  }
  return cat(blocks, 2);
}

const MASKS = ["keyMask", "querySegments", "keySegments"] as const;

/** The masks go in as inputs of the checkpoint: it keeps them until backward. */
function checkpointBlock(q: Tensor, k: Tensor, v: Tensor, options: CausalAttentionOptions): Tensor {
  const present = MASKS.filter((name) => options[name] !== undefined);
  return checkpoint(
    (ofQ: Tensor, ofK: Tensor, ofV: Tensor, ...masks: Tensor[]) => {
      const kept = Object.fromEntries(present.map((name, at) => [name, masks[at]]));
      return attentionOfBlock(ofQ, ofK, ofV, { ...options, ...kept });
    },
    q,
    k,
    v,
    ...present.map((name) => options[name]!),
  );
}

function attentionOfBlock(q: Tensor, k: Tensor, v: Tensor, options: CausalAttentionOptions): Tensor {
  const [batch, heads, queries, dim] = q.shape as [number, number, number, number];
  const [, keyHeads, keys] = k.shape as [number, number, number];
  // Query heads that share a key/value head are rows of one product.
  const grouped = reshape(q, [batch, keyHeads, (heads / keyHeads) * queries, dim]);
  let scores = mul(matmul(cast(grouped, "float32"), cast(k, "float32"), { transposeB: true }), options.scale);
  if (options.softCap !== undefined) {
    scores = mul(tanh(mul(scores, 1 / options.softCap)), options.softCap);
  }
  scores = reshape(scores, [batch, heads, queries, keys]);
  const visible = visibleKeys(queries, keys, options, q);
  // A finite number instead of -infinity: a query without any key then has weights that the second `where` clears, not NaN.
  const hidden = full([], -1e30, { device: q.device });
  const weights = where(visible, softmax(where(visible, scores, hidden), -1), zeros([], { device: q.device }));
  const dropped = options.dropout ? dropout(weights, options.dropout) : weights;
  const attended = matmul(reshape(cast(dropped, v.dtype), [batch, keyHeads, (heads / keyHeads) * queries, keys]), v);
  return cast(reshape(attended, [batch, heads, queries, v.shape[3]!]), q.dtype);
}

/** bool `[B or 1, 1, T, S]`: true where a query sees a key. */
function visibleKeys(queries: number, keys: number, options: CausalAttentionOptions, like: Tensor): Tensor {
  const { keyMask, querySegments, keySegments, window } = options;
  const key = arange(0, keys, 1, { device: like.device });
  const query = unsqueeze(add(arange(0, queries, 1, { device: like.device }), keys - queries), 1);
  let visible = le(key, query);
  if (window !== undefined) {
    visible = logicalAnd(visible, gt(key, sub(query, window)));
  }
  visible = reshape(visible, [1, 1, queries, keys]);
  if (keyMask !== undefined) {
    visible = logicalAnd(visible, reshape(cast(keyMask, "bool"), [-1, 1, 1, keys]));
  }
  if (querySegments !== undefined && keySegments !== undefined) {
    const same = eq(unsqueeze(querySegments, 2), unsqueeze(keySegments, 1));
    visible = logicalAnd(visible, unsqueeze(same, 1));
  }
  return visible;
}

function lastColumns(mask: Tensor, count: number): Tensor {
  const columns = mask.shape[1]!;
  return columns > count ? slice(mask, 1, columns - count, columns) : mask;
}
