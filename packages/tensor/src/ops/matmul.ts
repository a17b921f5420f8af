/**
 * Matrix products. Sums are float32. Inside `autocast(dtype, …)` operands are rounded to `dtype` while they are packed and
 * results have that dtype. Native side: native/ops/matmul.cc and native/cpu/gemm.h.
 */
import { autocastDtype } from "../autocast.ts";
import { needsTape, recordOperation } from "../autograd/tape.ts";
import { type DType, dtypeCode, isFloating } from "../dtype.ts";
import { TensorError } from "../errors.ts";
import { native } from "../native.ts";
import { keep } from "../scope.ts";
import { Tensor } from "../tensor.ts";
import { UNARY } from "./operation-codes.ts";
import { sumTo } from "./reduce.ts";
import { permute, reshape, transpose } from "./shape.ts";

/** What `product` may do besides multiplying. */
export interface ProductOptions {
  alpha?: number;
  bias?: Tensor | undefined;
  /** b in the order in which products read it; in its place. */
  packed?: Tensor | undefined;
  /** [m, r] and [r, n], whose product is added. Only for matrices with an even k. */
  tail?: readonly [Tensor, Tensor] | undefined;
  /** Contiguous, of the result's shape and dtype: added to, and returned. */
  into?: Tensor | undefined;
}

/** The dtype of a product's result; operands that are bfloat16 in part are multiplied as bfloat16 when the result is. */
function productDtype(a: Tensor, b: Tensor): DType {
  const forced = autocastDtype();
  if (forced !== undefined) return forced;
  if (a.dtype === b.dtype) return a.dtype;
  return "float32";
}

// a · b in `dtype`, not recorded. Products with a bfloat16 result or two bfloat16 operands are computed in bfloat16.
export function product(
  a: Tensor,
  b: Tensor,
  dtype: DType,
  inBFloat16: boolean,
  { alpha = 1, bias, packed, tail, into }: ProductOptions = {},
): Tensor {
  const options = [
    dtypeCode(dtype),
    inBFloat16,
    alpha,
    bias?.handle,
    packed?.handle,
    tail?.[0].handle,
    tail?.[1].handle,
  ] as const;
  if (into === undefined) return new Tensor(native.matmul(a.handle, b.handle, ...options));
  native.matmulInto(into.handle, a.handle, b.handle, 1, ...options);
  return into;
}

/** What there is of an input's gradient as a matrix [rows, columns] that a product of `dtype` may be added to. */
export function gradientAsMatrix(
  soFar: Tensor | undefined,
  dtype: DType,
  rows: number,
  columns: number,
): Tensor | undefined {
  return soFar?.dtype === dtype ? reshape(soFar, [rows, columns]) : undefined;
}

export function swapLast(x: Tensor): Tensor {
  return transpose(x, -1, -2);
}

export interface MatmulTransposes {
  transposeA?: boolean;
  transposeB?: boolean;
}

/**
 * a [..., m, k] times b [..., k, n] → [..., m, n]; leading dimensions broadcast. A transpose option exchanges the last two dimensions of
 * its operand first (without a copy). Operands of one dtype give that dtype, mixed ones float32.
 */
export function matmul(
  a: Tensor,
  b: Tensor,
  { transposeA = false, transposeB = false }: MatmulTransposes = {},
): Tensor {
  if (a.ndim < 2 || b.ndim < 2) {
    throw new TensorError(
      `matmul: expected at least two dimensions, found [${a.shape.join(", ")}] and [${b.shape.join(", ")}]`,
    );
  }
  const left = transposeA ? swapLast(a) : a;
  const right = transposeB ? swapLast(b) : b;
  if (left.ndim > 2 && right.ndim === 2) {
    // One matrix for all: the leading dimensions are rows, and its gradient is one product.
    return reshape(matmul(asRows(left), right), [...left.shape.slice(0, -1), right.shape[1] as number]);
  }
  const dtype = productDtype(left, right);
  const inBFloat16 = dtype === "bfloat16";
  const saved = [...(left.requiresGrad ? [right] : []), ...(right.requiresGrad ? [left] : [])];
  return recordOperation("matmul", product(left, right, dtype, inBFloat16), [left, right], saved, (g, needs) => [
    needs[0] ? sumTo(product(g, swapLast(right), left.dtype, inBFloat16), left.shape) : undefined,
    needs[1] ? sumTo(product(swapLast(left), g, right.dtype, inBFloat16), right.shape) : undefined,
  ]);
}

/** A frozen weight [out, in] in the order in which `linear` reads it: for the forward pass, and for the gradient of x. */
interface PackedWeight {
  inBFloat16: boolean;
  forward: Tensor;
  backward: Tensor | undefined;
}
const packedWeights = new WeakMap<Tensor, PackedWeight>();

export function packedWeight(weight: Tensor, inBFloat16: boolean): PackedWeight | undefined {
  const packed = packedWeights.get(weight);
  return packed !== undefined && packed.inBFloat16 === inBFloat16 && !weight.requiresGrad ? packed : undefined;
}

/**
 * Packs a frozen weight [out, in] once, so that `linear` does not pack it in every call: the same bits, a little faster, for
 * as much memory again as the weight takes in the dtype of the products (twice that with `backward`, which also serves the gradient of x).
 * Does nothing for a weight on a GPU, whose kernels
 * read it as it lies. The weight must not change afterwards. `dtype` is the one that products are computed in.
 */
export function prepackWeight(weight: Tensor, dtype: DType, { backward = false }: { backward?: boolean } = {}): void {
  if (weight.requiresGrad)
    throw new TensorError("prepackWeight: the weight is trained; only frozen weights can be packed");
  const inBFloat16 = dtype === "bfloat16";
  const pack = (b: Tensor): Tensor => keep(new Tensor(native.prepack(b.handle, inBFloat16)));
  releasePackedWeight(weight);
  if (weight.device !== "cpu") return;
  packedWeights.set(weight, {
    inBFloat16,
    forward: pack(permute(weight, [1, 0])),
    backward: backward ? pack(weight) : undefined,
  });
}

/** Frees what `prepackWeight` made. */
export function releasePackedWeight(weight: Tensor): void {
  const packed = packedWeights.get(weight);
  packed?.forward.dispose();
  packed?.backward?.dispose();
  packedWeights.delete(weight);
}

// [..., n] → [rows, n]
export function asRows(x: Tensor): Tensor {
  return x.ndim === 2
    ? x
    : reshape(x, [x.shape.slice(0, -1).reduce((rows, size) => rows * size, 1), x.shape.at(-1) as number]);
}

/**
 * x [..., in] · weightᵀ + bias → [..., out], with weight [out, in] and bias [out]. The result has x's dtype; a weight of another
 * dtype is rounded to it while packing, and its gradient has the weight's dtype. Where no gradient is recorded, an x of one position of up
 * to eight sequences, [B, 1, in], as decoding has it, is multiplied at the speed at which the weight is read from memory, with sums in an order
 * of their own (native/cpu/few_rows.h). Of all other shapes a row has the same bits in any company, recorded or not.
 */
export function linear(x: Tensor, weight: Tensor, bias?: Tensor): Tensor {
  if (weight.ndim !== 2 || x.ndim < 1 || x.shape.at(-1) !== weight.shape[1]) {
    throw new TensorError(`linear: x [${x.shape.join(", ")}] does not fit weight [${weight.shape.join(", ")}]`);
  }
  if (!isFloating(x.dtype)) throw new TensorError(`linear: expected a floating x, found ${x.dtype}`);
  const dtype = autocastDtype() ?? x.dtype;
  const inBFloat16 = dtype === "bfloat16";
  const packed = packedWeight(weight, inBFloat16);
  const inputs = bias === undefined ? [x, weight] : [x, weight, bias];
  const isRecorded = needsTape(inputs);
  const result = new Tensor(
    native.linear(
      x.handle,
      weight.handle,
      !isRecorded && x.ndim === 3 && x.shape[1] === 1,
      dtypeCode(dtype),
      inBFloat16,
      1,
      bias?.handle,
      packed?.forward.handle,
    ),
  );
  if (!isRecorded) return result;
  const forInput = packed?.backward;
  const saved = [
    ...(weight.requiresGrad ? [x] : []),
    ...(x.requiresGrad ? [weight, ...(forInput === undefined ? [] : [forInput])] : []),
  ];
  return recordOperation("linear", result, inputs, saved, (g, needs, soFar) => {
    const rows = asRows(g);
    const into = gradientAsMatrix(
      needs[0] ? soFar(0) : undefined,
      x.dtype,
      rows.shape[0] as number,
      x.shape.at(-1) as number,
    );
    const ofX = needs[0] ? product(rows, weight, x.dtype, inBFloat16, { packed: forInput, into }) : undefined;
    return [
      into === undefined && ofX ? reshape(ofX, x.shape) : undefined,
      needs[1] ? product(swapLast(rows), asRows(x), weight.dtype, inBFloat16) : undefined,
      needs[2] && bias !== undefined ? sumTo(g, bias.shape) : undefined,
    ];
  });
}

export interface AddmmOptions extends MatmulTransposes {
  /** Factor of the product; default 1. */
  alpha?: number;
  /** Factor of the input; default 1. */
  beta?: number;
  /**
   * Writes the result over `input`, which nothing may read afterwards, backward included: only for a fresh result of an operation whose
   * backward does not need it (linear, matmul, addmm).
   */
  overwriteInput?: boolean;
}

/** beta · input + alpha · a · b, with a [..., m, k], b [..., k, n] and input of the result's shape; input's dtype. */
export function addmm(
  input: Tensor,
  a: Tensor,
  b: Tensor,
  { alpha = 1, beta = 1, transposeA = false, transposeB = false, overwriteInput = false }: AddmmOptions = {},
): Tensor {
  const left = transposeA ? swapLast(a) : a;
  const right = transposeB ? swapLast(b) : b;
  const dtype = input.dtype;
  const inBFloat16 = dtype === "bfloat16";
  const result = overwriteInput && input.isContiguous ? input.detach() : input.copy();
  native.matmulInto(result.handle, left.handle, right.handle, beta, dtypeCode(dtype), inBFloat16, alpha, undefined);
  const saved = [...(left.requiresGrad ? [right] : []), ...(right.requiresGrad ? [left] : [])];
  return recordOperation("addmm", result, [input, left, right], saved, (g, needs) => [
    needs[0] ? (beta === 1 ? g : new Tensor(native.unary(UNARY.affine, beta, 0, g.handle))) : undefined,
    needs[1] ? sumTo(product(g, swapLast(right), left.dtype, inBFloat16, { alpha }), left.shape) : undefined,
    needs[2] ? sumTo(product(swapLast(left), g, right.dtype, inBFloat16, { alpha }), right.shape) : undefined,
  ]);
}
