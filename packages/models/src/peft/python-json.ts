/** A number that Python holds as a float and therefore writes with a point: 0.0, not 0. */
export interface PythonFloat {
  readonly float: number;
}

/** What `pythonJson` writes. Keys with an undefined value do not occur. */
export type PythonJsonValue =
  | null
  | boolean
  | number
  | string
  | PythonFloat
  | readonly PythonJsonValue[]
  | { readonly [key: string]: PythonJsonValue };

/**
 * Text equal to Python's `json.dumps(value, indent=2, sort_keys=True)`: sorted keys, escapes for everything outside ASCII,
 * no newline at the end, floats as `repr` writes them.
 */
export function pythonJson(value: PythonJsonValue, indentation = ""): string {
  const inner = `${indentation}  `;
  if (typeof value === "string") {
    return pythonString(value);
  }
  if (value === null || typeof value !== "object") {
    return String(value);
  }
  if (isArray(value)) {
    const items = value.map((item) => `${inner}${pythonJson(item, inner)}`);
    return items.length === 0 ? "[]" : `[\n${items.join(",\n")}\n${indentation}]`;
  }
  if (isFloat(value)) {
    return pythonFloat(value.float);
  }
  const entries = Object.entries(value)
    .sort(([a], [b]) => compareCodePoints(a, b))
    .map(([key, item]) => `${inner}${pythonString(key)}: ${pythonJson(item, inner)}`);
  return entries.length === 0 ? "{}" : `{\n${entries.join(",\n")}\n${indentation}}`;
}

/** Python's order of strings, by code points; JavaScript's is by UTF-16 units. */
export function compareCodePoints(a: string, b: string): number {
  const left = Array.from(a, (character) => character.codePointAt(0) ?? 0);
  const right = Array.from(b, (character) => character.codePointAt(0) ?? 0);
  for (let at = 0; at < Math.min(left.length, right.length); at++) {
    const difference = (left[at] ?? 0) - (right[at] ?? 0);
    if (difference !== 0) {
      return difference;
    }
  }
  return left.length - right.length;
}

/** `repr(float)`: the shortest digits that read back equal, with an exponent below 1e-4 and from 1e16 on. */
function pythonFloat(value: number): string {
  if (!Number.isFinite(value)) {
    throw new TypeError(`${value} has no JSON form`);
  }
  const [mantissa = "0", exponentText = "0"] = value.toExponential().split("e");
  const exponent = Number(exponentText);
  if (value !== 0 && (exponent < -4 || exponent >= 16)) {
    const digits = String(Math.abs(exponent)).padStart(2, "0");
    return `${mantissa}e${exponent < 0 ? "-" : "+"}${digits}`;
  }
  const plain = Object.is(value, -0) ? "-0" : String(value);
  return plain.includes(".") ? plain : `${plain}.0`;
}

function pythonString(text: string): string {
  return JSON.stringify(text).replace(
    /[\u007f-\uffff]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

// Array.isArray does not narrow readonly arrays.
function isArray(value: object): value is readonly PythonJsonValue[] {
  return Array.isArray(value);
}

function isFloat(value: object): value is PythonFloat {
  return "float" in value && typeof value.float === "number" && Object.keys(value).length === 1;
}
