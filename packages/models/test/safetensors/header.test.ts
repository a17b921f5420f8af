import { describe, expect, it } from "vitest";

import { SafetensorsError } from "../../src/errors.ts";
import { headerLength, MAX_HEADER_BYTES, parseHeader } from "../../src/safetensors/header.ts";

const encode = (text: string): Uint8Array => new TextEncoder().encode(text);

/** Parses a header in front of `dataBytes` bytes of data. */
function parse(header: unknown, dataBytes: number): ReturnType<typeof parseHeader> {
  const json = typeof header === "string" ? encode(header) : encode(JSON.stringify(header));
  return parseHeader("m.safetensors", json, 8 + json.byteLength + dataBytes);
}

function lengthField(value: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, value, true);
  return bytes;
}

const tensor = (dtype: string, shape: unknown, begin: unknown, end: unknown): unknown => ({
  dtype,
  shape,
  data_offsets: [begin, end],
});

describe("headerLength", () => {
  it("reads the length", () => {
    expect(headerLength("m", lengthField(10n), 18)).toBe(10);
  });
  it.each([
    ["an empty file", new Uint8Array(0), 0, /at least 8 bytes, found 0/],
    ["a length beyond the file", lengthField(11n), 18, /truncated: the header should end at byte 19, the file has 18/],
    [
      "a length beyond the limit",
      lengthField(BigInt(MAX_HEADER_BYTES) + 1n),
      2 ** 40,
      /declare a header of 100000001 bytes/,
    ],
    ["a length of 2^64 - 1", lengthField(2n ** 64n - 1n), 100, /declare a header of 18446744073709551615 bytes/],
  ])("refuses %s", (_, field, size, message) => {
    expect(() => headerLength("m.safetensors", field, size)).toThrow(SafetensorsError);
    expect(() => headerLength("m.safetensors", field, size)).toThrow(message);
  });
});

describe("parseHeader", () => {
  it("gives offsets from the start of the file", () => {
    const header = parse(
      { b: tensor("F32", [2, 3], 4, 28), a: tensor("BF16", [2], 0, 4), __metadata__: { format: "pt" } },
      28,
    );
    const start = 8 + header.byteLength;
    expect(header.entries.get("b")).toEqual({
      name: "b",
      storedDType: "F32",
      shape: [2, 3],
      begin: start + 4,
      end: start + 28,
    });
    expect([...header.entries.keys()]).toEqual(["b", "a"]);
    expect(header.metadata.get("format")).toBe("pt");
  });

  it("accepts scalars, empty tensors, dtypes that the engine lacks, names such as __proto__, and padding", () => {
    const header = parse(
      '{"s":{"dtype":"F64","shape":[],"data_offsets":[0,8]},"__proto__":{"dtype":"F32","shape":[0,3],"data_offsets":[8,8]}}    ',
      8,
    );
    expect([...header.entries.keys()]).toEqual(["s", "__proto__"]);
    expect(parse({}, 0).entries.size).toBe(0);
  });

  it.each<[string, unknown, number, RegExp]>([
    ["what is no JSON", "{", 0, /not valid JSON/],
    ["an array", "[]", 0, /should begin with "\{"/],
    ["leading space", ' {"a":1}', 0, /should begin with/],
    [
      "a duplicate tensor",
      '{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
      1,
      /same key twice: "a"/,
    ],
    [
      "a duplicate field",
      '{"a":{"dtype":"U8","shape":[1],"shape":[2],"data_offsets":[0,1]}}',
      1,
      /same key twice: "a.shape"/,
    ],
    ["an unknown dtype", { a: tensor("F33", [1], 0, 4) }, 4, /tensor "a": dtype: .* found "F33"/],
    ["a dtype that is no string", { a: tensor(7 as unknown as string, [1], 0, 4) }, 4, /dtype: .* found 7/],
    ["a negative size", { a: tensor("F32", [-1], 0, 4) }, 4, /shape: .* found \[-1\]/],
    ["a fractional size", { a: tensor("F32", [1.5], 0, 6) }, 6, /shape: .* found \[1.5\]/],
    ["a size beyond 2^53", { a: tensor("F32", [2 ** 60], 0, 4) }, 4, /shape: /],
    [
      "a product that overflows",
      { a: tensor("F32", [2 ** 40, 2 ** 40], 0, 4) },
      4,
      /takes .* bytes, data_offsets \[0, 4\] give 4/,
    ],
    ["a shape that is no list", { a: tensor("F32", 1, 0, 4) }, 4, /shape: .* found 1/],
    [
      "a size that does not fit the shape",
      { a: tensor("F32", [2], 0, 4) },
      4,
      /F32 of shape \[2\] takes 8 bytes, .* give 4/,
    ],
    [
      "offsets beyond the file",
      { a: tensor("F32", [2], 0, 8) },
      4,
      /do not lie in the file's 4 bytes of data: the file is truncated/,
    ],
    ["offsets that run backwards", { a: tensor("F32", [1], 8, 4) }, 8, /do not lie/],
    ["negative offsets", { a: tensor("F32", [1], -4, 0) }, 8, /data_offsets: .* found \[-4,0\]/],
    [
      "three offsets",
      { a: { dtype: "F32", shape: [1], data_offsets: [0, 4, 4] } },
      4,
      /data_offsets: expected \[begin, end\]/,
    ],
    [
      "an overlap",
      { a: tensor("F32", [1], 0, 4), b: tensor("F32", [1], 2, 6) },
      6,
      /tensor "b" overlaps the tensor before it/,
    ],
    ["the same bytes twice", { a: tensor("F32", [1], 0, 4), b: tensor("F32", [1], 0, 4) }, 4, /overlaps/],
    ["a hole", { a: tensor("F32", [1], 0, 4), b: tensor("F32", [1], 8, 12) }, 12, /tensor "b" leaves a hole before it/],
    ["bytes after the tensors", { a: tensor("F32", [1], 0, 4) }, 6, /2 bytes belong to no tensor/],
    ["data without tensors", {}, 6, /6 bytes belong to no tensor/],
    [
      "a field too many",
      { a: { dtype: "U8", shape: [1], data_offsets: [0, 1], stride: 1 } },
      1,
      /unknown key "stride"/,
    ],
    ["an entry that is no object", { a: 3 }, 0, /tensor "a": expected \{/],
    ["metadata that is no object", { __metadata__: ["pt"] }, 0, /__metadata__: expected an object of strings/],
    ["metadata with numbers", { __metadata__: { a: 1 } }, 0, /__metadata__: expected an object of strings/],
  ])("refuses %s", (_, header, bytes, message) => {
    expect(() => parse(header, bytes)).toThrow(SafetensorsError);
    expect(() => parse(header, bytes)).toThrow(message);
  });

  it("refuses what is not UTF-8", () => {
    const json = Uint8Array.of(0x7b, 0x22, 0xff, 0x22, 0x7d);
    expect(() => parseHeader("m.safetensors", json, 8 + json.byteLength)).toThrow(
      /m\.safetensors: the header is not valid UTF-8/,
    );
  });
});
