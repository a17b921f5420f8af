/**
 * Elementwise operations with numpy's broadcasting. Floating operands are computed in float32 and rounded to the result's
 * dtype; two operands promote as in torch (a number never promotes a tensor of floats). Native side: native/cpu/elementwise.cc.
 */
import { recordOperation } from "../autograd/tape.ts";
import { deviceCode } from "../device.ts";
import { type DType, dtypeCode, isFloating } from "../dtype.ts";
import { native } from "../native.ts";
import { Tensor } from "../tensor.ts";
import { BINARY, UNARY } from "./operation-codes.ts";
import { sumTo } from "./reduce.ts";

function unary(op: keyof typeof UNARY, x: Tensor, a = 0, b = 0): Tensor {
  return new Tensor(native.unary(UNARY[op], a, b, x.handle));
}

function binary(op: keyof typeof BINARY, x: Tensor, y: Tensor): Tensor {
  return new Tensor(native.binary(BINARY[op], x.handle, y.handle));
}

// A number becomes a tensor of one element; its dtype lets x keep its own.
function operand(x: Tensor, y: Tensor | number): Tensor {
  if (typeof y !== "number") return y;
  const dtype = isFloating(x.dtype) || Number.isInteger(y) ? x.dtype : "float32";
  const scalar = new Tensor(native.empty([], dtypeCode(dtype === "bool" ? "int32" : dtype), deviceCode(x.device)));
  native.fill(scalar.handle, y);
  return scalar;
}

// ---- Arithmetic ----------------------------------------------------------------------------------------------------------------

/** x + y */
export function add(x: Tensor, y: Tensor | number): Tensor {
  if (typeof y === "number") return affine(x, 1, y);
  return recordOperation("add", binary("add", x, y), [x, y], [], (g, needs) => [
    needs[0] ? sumTo(g, x.shape) : undefined,
    needs[1] ? sumTo(g, y.shape) : undefined,
  ]);
}

/** x − y */
export function sub(x: Tensor, y: Tensor | number): Tensor {
  if (typeof y === "number") return affine(x, 1, -y);
  return recordOperation("sub", binary("sub", x, y), [x, y], [], (g, needs) => [
    needs[0] ? sumTo(g, x.shape) : undefined,
    needs[1] ? sumTo(neg(g), y.shape) : undefined,
  ]);
}

/** x · y */
export function mul(x: Tensor, y: Tensor | number): Tensor {
  if (typeof y === "number") return affine(x, y, 0);
  const saved = [...(x.requiresGrad ? [y] : []), ...(y.requiresGrad ? [x] : [])];
  return recordOperation("mul", binary("mul", x, y), [x, y], saved, (g, needs) => [
    needs[0] ? sumTo(mul(g, y), x.shape) : undefined,
    needs[1] ? sumTo(mul(g, x), y.shape) : undefined,
  ]);
}

/** x / y; integers give float32. */
export function div(x: Tensor, y: Tensor | number): Tensor {
  const divisor = operand(x, y);
  return recordOperation("div", binary("div", x, divisor), [x, divisor], [x, divisor], (g, needs) => [
    needs[0] ? sumTo(div(g, divisor), x.shape) : undefined,
    needs[1] ? sumTo(neg(div(mul(g, x), square(divisor))), divisor.shape) : undefined,
  ]);
}

// x · scale + shift with constant scale and shift.
function affine(x: Tensor, scale: number, shift: number): Tensor {
  return recordOperation("affine", unary("affine", x, scale, shift), [x], [], (g) => [
    scale === 1 ? g : affine(g, scale, 0),
  ]);
}

/** The larger of x and y; NaN wins. Where they are equal the gradient is shared equally, as in torch. */
export function maximum(x: Tensor, y: Tensor | number): Tensor {
  const other = operand(x, y);
  return recordOperation("maximum", binary("maximum", x, other), [x, other], [x, other], extremeVjp(x, other, "gt"));
}

/** The smaller of x and y; NaN wins. Where they are equal the gradient is shared equally, as in torch. */
export function minimum(x: Tensor, y: Tensor | number): Tensor {
  const other = operand(x, y);
  return recordOperation("minimum", binary("minimum", x, other), [x, other], [x, other], extremeVjp(x, other, "lt"));
}

function extremeVjp(x: Tensor, y: Tensor, wins: "gt" | "lt") {
  return (g: Tensor, needs: readonly boolean[]): (Tensor | undefined)[] => {
    const share = (a: Tensor, b: Tensor): Tensor => {
      const half = mul(cast(binary("eq", a, b), "float32"), 0.5);
      return sumTo(mul(g, cast(add(cast(binary(wins, a, b), "float32"), half), g.dtype)), a.shape);
    };
    return [needs[0] ? share(x, y) : undefined, needs[1] ? share(y, x) : undefined];
  };
}

/** x ^ exponent */
export function pow(x: Tensor, exponent: number): Tensor {
  return recordOperation("pow", unary("power", x, exponent), [x], [x], (g) => [
    mul(g, mul(pow(x, exponent - 1), exponent)),
  ]);
}

export function neg(x: Tensor): Tensor {
  return recordOperation("neg", unary("neg", x), [x], [], (g) => [neg(g)]);
}

export function abs(x: Tensor): Tensor {
  return recordOperation("abs", unary("abs", x), [x], [x], (g) => [
    where(binary("lt", x, operand(x, 0)), neg(g), where(binary("eq", x, operand(x, 0)), mul(g, 0), g)),
  ]);
}

export function square(x: Tensor): Tensor {
  return recordOperation("square", unary("square", x), [x], [x], (g) => [mul(mul(g, x), 2)]);
}

// ---- Functions -----------------------------------------------------------------------------------------------------------------

// A function whose gradient is g · slope(y), from its own result.
function byResult(name: keyof typeof UNARY, x: Tensor, vjp: (g: Tensor, y: Tensor) => Tensor): Tensor {
  const y = unary(name, x);
  if (!x.requiresGrad) return y;
  const saved = y.detach();
  return recordOperation(name, y, [x], [saved], (g) => [vjp(g, saved)]);
}

export function exp(x: Tensor): Tensor {
  return byResult("exp", x, (g, y) => mul(g, y));
}

export function sqrt(x: Tensor): Tensor {
  return byResult("sqrt", x, (g, y) => mul(div(g, y), 0.5));
}

/** 1 / √x */
export function rsqrt(x: Tensor): Tensor {
  return byResult("rsqrt", x, (g, y) => mul(mul(g, mul(y, square(y))), -0.5));
}

/** 1 / x */
export function reciprocal(x: Tensor): Tensor {
  return byResult("reciprocal", x, (g, y) => neg(mul(g, square(y))));
}

export function sigmoid(x: Tensor): Tensor {
  return byResult("sigmoid", x, (g, y) => binary("sigmoidGradient", y, g));
}

export function tanh(x: Tensor): Tensor {
  return byResult("tanh", x, (g, y) => binary("tanhGradient", y, g));
}

export function log(x: Tensor): Tensor {
  return recordOperation("log", unary("log", x), [x], [x], (g) => [div(g, x)]);
}

export function sin(x: Tensor): Tensor {
  return recordOperation("sin", unary("sin", x), [x], [x], (g) => [mul(g, cos(x))]);
}

export function cos(x: Tensor): Tensor {
  return recordOperation("cos", unary("cos", x), [x], [x], (g) => [neg(mul(g, sin(x)))]);
}

/** The error function. */
export function erf(x: Tensor): Tensor {
  return recordOperation("erf", unary("erf", x), [x], [x], (g) => [
    mul(mul(g, exp(neg(square(x)))), 2 / Math.sqrt(Math.PI)),
  ]);
}

/** x · sigmoid(x) */
export function silu(x: Tensor): Tensor {
  return recordOperation("silu", unary("silu", x), [x], [x], (g) => [binary("siluGradient", x, g)]);
}

export function relu(x: Tensor): Tensor {
  return recordOperation("relu", unary("relu", x), [x], [x], (g) => [binary("reluGradient", x, g)]);
}

/** x · Φ(x) (Hendrycks and Gimpel, 2016): exact by erf, or the tanh approximation. */
export function gelu(x: Tensor, approximate: "none" | "tanh" = "none"): Tensor {
  const name = approximate === "tanh" ? "geluTanh" : "gelu";
  const gradient = approximate === "tanh" ? "geluTanhGradient" : "geluGradient";
  return recordOperation(name, unary(name, x), [x], [x], (g) => [binary(gradient, x, g)]);
}

/** x limited to [min, max]; the gradient is 0 outside. */
export function clamp(x: Tensor, min: number = -Infinity, max: number = Infinity): Tensor {
  return recordOperation("clamp", unary("clamp", x, min, max), [x], [x], (g) => [
    where(logicalAnd(ge(x, min), le(x, max)), g, mul(g, 0)),
  ]);
}

/** x converted to `dtype`; x itself when it has that dtype. */
export function cast(x: Tensor, dtype: DType): Tensor {
  if (x.dtype === dtype) return x;
  const result = new Tensor(native.cast(x.handle, dtypeCode(dtype)));
  if (!isFloating(dtype)) return result;
  return recordOperation("cast", result, [x], [], (g) => [cast(g, x.dtype)]);
}

/** x where the condition is true (not 0), else y. */
export function where(condition: Tensor, x: Tensor, y: Tensor): Tensor {
  const result = new Tensor(native.where(condition.handle, x.handle, y.handle));
  return recordOperation("where", result, [x, y], [condition], (g, needs) => {
    const zero = operand(g, 0);
    return [
      needs[0] ? sumTo(where(condition, g, zero), x.shape) : undefined,
      needs[1] ? sumTo(where(condition, zero, g), y.shape) : undefined,
    ];
  });
}

// ---- Comparison and logic: results are bool ------------------------------------------------------------------------------------

export function eq(x: Tensor, y: Tensor | number): Tensor {
  return binary("eq", x, operand(x, y));
}
export function ne(x: Tensor, y: Tensor | number): Tensor {
  return binary("ne", x, operand(x, y));
}
export function lt(x: Tensor, y: Tensor | number): Tensor {
  return binary("lt", x, operand(x, y));
}
export function le(x: Tensor, y: Tensor | number): Tensor {
  return binary("le", x, operand(x, y));
}
export function gt(x: Tensor, y: Tensor | number): Tensor {
  return binary("gt", x, operand(x, y));
}
export function ge(x: Tensor, y: Tensor | number): Tensor {
  return binary("ge", x, operand(x, y));
}
export function logicalAnd(x: Tensor, y: Tensor): Tensor {
  return binary("logicalAnd", x, y);
}
export function logicalOr(x: Tensor, y: Tensor): Tensor {
  return binary("logicalOr", x, y);
}
export function logicalNot(x: Tensor): Tensor {
  return unary("logicalNot", x);
}
