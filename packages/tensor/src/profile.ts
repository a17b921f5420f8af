/** Where the time of a computation goes, by native operation. Kernels of the CPU have finished when a call returns. */
import { type Handle, native, type NativeEngine, record, RECORD_SHAPE } from "./native.ts";

export interface OperationProfile {
  /** The native function; for elementwise ones with the number of the operation, for products with m × n × k. */
  operation: string;
  calls: number;
  seconds: number;
  /** Floating point operations of matrix products; 0 for the rest. */
  flops: number;
}

type AnyFunction = (...values: unknown[]) => unknown;

function lastTwo(handle: Handle): [number, number, number] {
  native.describe(handle);
  const ndim = record[5] as number;
  let rest = 1;
  for (let d = 0; d < ndim - 2; d++) rest *= record[RECORD_SHAPE + d] as number;
  return [rest, ndim < 2 ? 1 : (record[RECORD_SHAPE + ndim - 2] as number), record[RECORD_SHAPE + ndim - 1] as number];
}

// The name under which a call is counted, and its flops.
function describeCall(name: string, values: unknown[]): { operation: string; flops: number } {
  if (name === "matmul" || name === "matmulInto") {
    const [a, b] = (name === "matmul" ? values : values.slice(1)) as [Handle, Handle];
    const [batch, m, k] = lastTwo(a);
    const n = lastTwo(b)[2];
    return { operation: `${name} ${batch > 1 ? `${batch} x ` : ""}${m} x ${n} x ${k}`, flops: 2 * batch * m * n * k };
  }
  if (name === "linear") {
    const [x, weight] = values as [Handle, Handle];
    const [rest, rows, k] = lastTwo(x);
    const n = lastTwo(weight)[1];
    return { operation: `linear ${rest * rows} x ${n} x ${k}`, flops: 2 * rest * rows * n * k };
  }
  if (name === "groupedLinear") {
    const [x, [weight], , multipliesTransposed] = values as [Handle, [Handle], unknown, boolean];
    const [, rows, k] = lastTwo(x);
    const n = lastTwo(weight)[multipliesTransposed ? 2 : 1];
    return { operation: `${name} ${rows} x ${n} x ${k}`, flops: 2 * rows * n * k };
  }
  if (name === "groupedWeightGradients") {
    const [gradient, x] = values as [Handle, Handle];
    const [, rows, m] = lastTwo(gradient);
    const n = lastTwo(x)[2];
    return { operation: `${name} ${m} x ${n} x ${rows}`, flops: 2 * rows * m * n };
  }
  const isNumbered = name === "unary" || name === "binary" || name === "reduce";
  return { operation: isNumbered ? `${name} ${String(values[0])}` : name, flops: 0 };
}

/**
 * Counts calls and seconds of every native operation until the returned function is called; it gives the rows, slowest first.
 * Slows each call down by about a microsecond.
 */
export function startProfile(): () => OperationProfile[] {
  const rows = new Map<string, OperationProfile>();
  const originals = new Map<keyof NativeEngine, AnyFunction>();
  const functions = native as unknown as Record<string, AnyFunction>;
  for (const [name, original] of Object.entries(functions)) {
    if (name === "describe") continue;
    originals.set(name as keyof NativeEngine, original);
    functions[name] = (...values: unknown[]) => {
      const { operation, flops } = describeCall(name, values);
      const start = process.hrtime.bigint();
      const result = original(...values);
      const seconds = Number(process.hrtime.bigint() - start) * 1e-9;
      const row = rows.get(operation) ?? { operation, calls: 0, seconds: 0, flops: 0 };
      row.calls++;
      row.seconds += seconds;
      row.flops += flops;
      rows.set(operation, row);
      return result;
    };
  }
  return () => {
    for (const [name, original] of originals) functions[name] = original;
    return [...rows.values()].sort((a, b) => b.seconds - a.seconds);
  };
}
