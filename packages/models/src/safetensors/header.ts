/**
 * The header of a safetensors file: 8 bytes of little-endian header length, that many bytes of JSON
 * (`{"name": {"dtype", "shape", "data_offsets": [begin, end]}, "__metadata__": {string: string}}`), then the tensors' bytes.
 * https://github.com/huggingface/safetensors#format. Files come from anywhere, so nothing in a header is believed unchecked.
 */
import { SafetensorsError } from "../errors.ts";
import { type JsonDocument, parseJson } from "../json/json-document.ts";
import { storedDType } from "./dtypes.ts";

/** One tensor as the header describes it. `begin` and `end` count bytes from the start of the file. */
export interface TensorEntry {
  readonly name: string;
  readonly storedDType: string;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

export interface SafetensorsHeader {
  readonly entries: ReadonlyMap<string, TensorEntry>;
  readonly metadata: ReadonlyMap<string, string>;
  readonly byteLength: number;
}

/** The format's own limit on a header, 100 MB: a larger number is a damaged or hostile file. */
export const MAX_HEADER_BYTES = 100_000_000;

/** Bytes of the length field in front of the JSON. */
export const LENGTH_BYTES = 8;

const METADATA_KEY = "__metadata__";

/**
 * Reads the length field.
 * @returns how many bytes of JSON follow it
 */
export function headerLength(path: string, lengthField: Uint8Array, fileSize: number): number {
  if (lengthField.byteLength < LENGTH_BYTES) {
    throw new SafetensorsError(
      `${path}: not a safetensors file: expected at least ${LENGTH_BYTES} bytes, found ${fileSize}. Is the download complete?`,
    );
  }
  const view = new DataView(lengthField.buffer, lengthField.byteOffset, LENGTH_BYTES);
  const declared = view.getBigUint64(0, true);
  if (declared > BigInt(MAX_HEADER_BYTES)) {
    throw new SafetensorsError(
      `${path}: not a safetensors file: its first 8 bytes declare a header of ${declared} bytes, and the format allows ${MAX_HEADER_BYTES}.`,
    );
  }
  const length = Number(declared);
  if (LENGTH_BYTES + length > fileSize) {
    throw new SafetensorsError(
      `${path}: truncated: the header should end at byte ${LENGTH_BYTES + length}, the file has ${fileSize} bytes. Download it again.`,
    );
  }
  return length;
}

/** Parses and checks the JSON of a header. `fileSize` counts the whole file, including the length field. */
export function parseHeader(path: string, json: Uint8Array, fileSize: number): SafetensorsHeader {
  const document = parseHeaderJson(path, json);
  if (document.duplicateKeys.length > 0) {
    throw new SafetensorsError(
      `${path}: the header has the same key twice: ${document.duplicateKeys.slice(0, 5).map(quote).join(", ")}. ` +
        `Readers disagree on which one counts, so the file is refused.`,
    );
  }
  if (!isObject(document.value)) {
    throw new SafetensorsError(`${path}: the header is not a JSON object.`);
  }
  const dataStart = LENGTH_BYTES + json.byteLength;
  const entries = new Map<string, TensorEntry>();
  let metadata: ReadonlyMap<string, string> = new Map();
  for (const [name, value] of Object.entries(document.value)) {
    if (name === METADATA_KEY) {
      metadata = parseMetadata(path, value);
    } else {
      entries.set(name, parseEntry(path, name, value, dataStart, fileSize));
    }
  }
  checkLayout(path, entries, dataStart, fileSize);
  return { entries, metadata, byteLength: json.byteLength };
}

function parseHeaderJson(path: string, json: Uint8Array): JsonDocument {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(json);
  } catch {
    throw new SafetensorsError(
      `${path}: the header is not valid UTF-8. The file is damaged or not a safetensors file.`,
    );
  }
  if (!text.startsWith("{")) {
    throw new SafetensorsError(`${path}: the header should begin with "{", found ${quote(text.slice(0, 8))}.`);
  }
  try {
    return parseJson(text);
  } catch (error) {
    throw new SafetensorsError(`${path}: the header is not valid JSON: ${(error as Error).message}`);
  }
}

function parseMetadata(path: string, value: unknown): ReadonlyMap<string, string> {
  const pairs = isObject(value) ? Object.entries(value) : undefined;
  if (pairs === undefined || !pairs.every((pair): pair is [string, string] => typeof pair[1] === "string")) {
    throw new SafetensorsError(`${path}: ${METADATA_KEY}: expected an object of strings, found ${preview(value)}.`);
  }
  return new Map(pairs);
}

function parseEntry(path: string, name: string, value: unknown, dataStart: number, fileSize: number): TensorEntry {
  const fail = (message: string): never => {
    throw new SafetensorsError(`${path}: tensor ${quote(name)}: ${message}`);
  };
  if (!isObject(value)) {
    return fail(`expected {"dtype", "shape", "data_offsets"}, found ${preview(value)}.`);
  }
  const { dtype, shape, data_offsets: offsets, ...rest } = value;
  const unknown = Object.keys(rest);
  if (unknown.length > 0) {
    return fail(
      `unknown key ${unknown.slice(0, 3).map(quote).join(", ")}; a tensor has dtype, shape and data_offsets.`,
    );
  }
  const stored = typeof dtype === "string" ? storedDType(dtype) : undefined;
  if (typeof dtype !== "string" || stored === undefined) {
    return fail(`dtype: expected a dtype name of the format such as "F32" or "BF16", found ${preview(dtype)}.`);
  }
  if (!Array.isArray(shape) || !shape.every(isSize)) {
    return fail(`shape: expected a list of whole numbers >= 0, found ${preview(shape)}.`);
  }
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isSize)) {
    return fail(`data_offsets: expected [begin, end], two whole numbers >= 0, found ${preview(offsets)}.`);
  }
  const [begin, end] = offsets as [number, number];
  if (begin > end || dataStart + end > fileSize) {
    return fail(
      `data_offsets [${begin}, ${end}] do not lie in the file's ${fileSize - dataStart} bytes of data` +
        (begin > end ? "." : ": the file is truncated or damaged."),
    );
  }
  const bits = shape.reduce<number>((product, size) => product * size, stored.bits);
  if (bits !== (end - begin) * 8) {
    return fail(
      `${dtype} of shape [${shape.join(", ")}] takes ${bits / 8} bytes, data_offsets [${begin}, ${end}] give ${end - begin}.`,
    );
  }
  return { name, storedDType: dtype, shape, begin: dataStart + begin, end: dataStart + end };
}

/** The format wants the tensors to fill the data without holes or overlaps: what is in no tensor could hide anything. */
function checkLayout(
  path: string,
  entries: ReadonlyMap<string, TensorEntry>,
  dataStart: number,
  fileSize: number,
): void {
  const inOrder = [...entries.values()].sort((a, b) => a.begin - b.begin || a.end - b.end);
  let at = dataStart;
  for (const { name, begin, end } of inOrder) {
    if (begin !== at) {
      const what = begin < at ? "overlaps the tensor before it" : "leaves a hole before it";
      throw new SafetensorsError(
        `${path}: tensor ${quote(name)} ${what}: expected it to begin at byte ${at - dataStart} of the data, found ${begin - dataStart}.`,
      );
    }
    at = end;
  }
  if (at !== fileSize) {
    throw new SafetensorsError(
      `${path}: the tensors end at byte ${at}, the file has ${fileSize} bytes: ${fileSize - at} bytes belong to no tensor.`,
    );
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isSize(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function quote(text: string): string {
  return JSON.stringify(text.length > 120 ? `${text.slice(0, 120)}…` : text);
}

function preview(value: unknown): string {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}
