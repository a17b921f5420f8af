/** Exact decimal rounding of floats, halves to even, as Python prints and rounds them. */

function up(base: bigint, power: number): bigint {
  return base ** BigInt(Math.max(0, power));
}

/** The float times 10^digits, rounded to an integer, halves to even; `value` is finite. */
export function scaledInteger(value: number, digits: number): bigint {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, value);
  const bits = view.getBigUint64(0);
  const biased = Number((bits >> 52n) & 0x7ffn);
  const fraction = bits & 0xfffffffffffffn;
  const mantissa = biased === 0 ? fraction : fraction | 0x10000000000000n;
  const exponent = (biased === 0 ? 1 : biased) - 1075;
  const numerator = mantissa * up(10n, digits) * up(2n, exponent);
  const denominator = up(10n, -digits) * up(2n, -exponent);
  const quotient = numerator / denominator;
  const twice = (numerator % denominator) * 2n;
  const rounded = twice > denominator || (twice === denominator && quotient % 2n === 1n) ? quotient + 1n : quotient;
  return bits >> 63n === 1n ? -rounded : rounded;
}

/** Digits without a sign, with `digits` of them behind the point. */
export function fixedDigits(value: number, digits: number): string {
  const text = scaledInteger(Math.abs(value), digits)
    .toString()
    .padStart(digits + 1, "0");
  return digits === 0 ? text : `${text.slice(0, -digits)}.${text.slice(-digits)}`;
}

/** Digits without a sign as d.ddde±dd, with `digits` of them behind the point. */
export function exponentDigits(value: number, digits: number): string {
  const magnitude = Math.abs(value);
  let exponent = magnitude === 0 ? 0 : Number(magnitude.toExponential().split("e")[1] ?? 0);
  let text = scaledInteger(magnitude, digits - exponent).toString();
  if (text.length > digits + 1) {
    exponent++;
    text = scaledInteger(magnitude, digits - exponent).toString();
  }
  text = text.padStart(digits + 1, "0");
  const mantissa = digits === 0 ? text : `${text.slice(0, 1)}.${text.slice(1)}`;
  return `${mantissa}e${exponent < 0 ? "-" : "+"}${Math.abs(exponent).toString().padStart(2, "0")}`;
}

/** The shorter of the two forms with `precision` significant digits; trailing zeros go unless `alternate`. */
export function generalDigits(value: number, precision: number, alternate: boolean): string {
  const significant = Math.max(1, precision);
  const scientific = exponentDigits(value, significant - 1);
  const exponent = Number(scientific.split("e")[1]);
  const positional = exponent >= -4 && exponent < significant;
  const text = positional ? fixedDigits(value, significant - 1 - exponent) : scientific;
  if (alternate || !text.includes(".")) {
    return text;
  }
  const [mantissa = "", power] = text.split("e");
  const trimmed = mantissa.replace(/\.?0+$/, "");
  return power === undefined ? trimmed : `${trimmed}e${power}`;
}

/** `round(value, digits)` of a float. */
export function roundFloat(value: number, digits: number): number {
  if (!Number.isFinite(value) || digits > 323) {
    return value;
  }
  if (digits < -308) {
    return value < 0 ? -0 : 0;
  }
  const integer = scaledInteger(value, digits);
  const rounded = Number(`${integer}e${-digits}`);
  return rounded === 0 && (value < 0 || Object.is(value, -0)) ? -0 : rounded;
}

/** `round(value, digits)` of an int. */
export function roundInteger(value: bigint, digits: number): bigint {
  if (digits >= 0) {
    return value;
  }
  const unit = 10n ** BigInt(Math.min(-digits, 5000));
  const half = unit / 2n;
  const magnitude = value < 0n ? -value : value;
  const rest = magnitude % unit;
  const down = magnitude - rest;
  const rounded = rest > half || (rest === half && (down / unit) % 2n === 1n) ? down + unit : down;
  return value < 0n ? -rounded : rounded;
}
