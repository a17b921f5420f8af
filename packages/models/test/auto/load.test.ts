import { copyFileSync, cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { fromBytes, tensor, type Tensor } from "@fms-accel/tensor";
import { fixturePath, largestDifference, readSafetensors, temporaryDirectory } from "@fms-accel/test-utilities";
import { describe, expect, it } from "vitest";

import { AutoModelForCausalLM } from "../../src/auto/auto-model.ts";
import { CheckpointError, ConfigError, ModelsError, SafetensorsError } from "../../src/errors.ts";
import { SafetensorsFile } from "../../src/safetensors/safetensors-file.ts";
import { writeSafetensors } from "../../src/safetensors/writer.ts";

const llama = fixturePath("models", "llama");

/** A model directory with the llama fixture's configuration and changed weights. */
function withTensors(change: (tensors: Map<string, Tensor>) => void, fixture = llama): string {
  const directory = temporaryDirectory();
  copyFileSync(join(fixture, "config.json"), join(directory, "config.json"));
  using file = SafetensorsFile.open(join(fixture, "model.safetensors"));
  const tensors = new Map([...file.entries.keys()].map((name) => [name, file.tensor(name)]));
  change(tensors);
  writeSafetensors(join(directory, "model.safetensors"), tensors);
  return directory;
}

async function dtypes(options: object): Promise<Set<string>> {
  const model = await AutoModelForCausalLM.fromPretrained(fixturePath("models", "llama-sharded"), options);
  return new Set([...model.parameters()].map((parameter) => parameter.dtype));
}

async function failure(directory: string): Promise<Error> {
  try {
    await AutoModelForCausalLM.fromPretrained(directory);
  } catch (error) {
    return error as Error;
  }
  throw new Error(`${directory} could be opened`);
}

describe("AutoModelForCausalLM.fromPretrained", () => {
  it("gives every parameter the values of the file, single or sharded, and widens exactly", async () => {
    for (const name of ["llama", "llama-sharded"]) {
      const directory = fixturePath("models", name);
      const model = await AutoModelForCausalLM.fromPretrained(directory, { dtype: "float32" });
      const stored = new Map(
        readdirSync(directory)
          .filter((file) => /^model.*\.safetensors$/.test(file))
          .flatMap((file) => [...readSafetensors(join(directory, file))]),
      );
      const names = [...model.namedParameters()].map(([parameter]) => parameter);
      expect(names.toSorted()).toEqual([...stored.keys()].toSorted());
      for (const [parameter, value] of model.namedParameters()) {
        expect(largestDifference(value.toFloat32Array(), stored.get(parameter)!.data)).toBe(0);
        expect(value.requiresGrad).toBe(true);
      }
      expect(model.training).toBe(false);
    }
  });

  it("takes the dtype of config.json unless another is asked for", async () => {
    expect(await dtypes({})).toEqual(new Set(["bfloat16"]));
    expect(await dtypes({ dtype: "auto" })).toEqual(new Set(["bfloat16"]));
    expect(await dtypes({ dtype: "float16" })).toEqual(new Set(["float16"]));
    await expect(dtypes({ dtype: "int32" })).rejects.toThrow(ModelsError);
  });

  it("uses one parameter for tied embeddings", async () => {
    const model = await AutoModelForCausalLM.fromPretrained(fixturePath("models", "llama3-rope"));
    const state = model.stateDict();
    expect(state.get("lm_head.weight")).toBe(state.get("model.embed_tokens.weight"));
    expect([...model.namedParameters()].map(([name]) => name)).not.toContain("lm_head.weight");
  });

  it("reads a tied weight that is stored under its other name, or twice", async () => {
    const fixture = fixturePath("models", "llama3-rope");
    const embedding = readSafetensors(join(fixture, "model.safetensors")).get("model.embed_tokens.weight")!;
    const renamed = withTensors((tensors) => {
      tensors.set("lm_head.weight", tensors.get("model.embed_tokens.weight")!);
      tensors.delete("model.embed_tokens.weight");
    }, fixture);
    const twice = withTensors(
      (tensors) => tensors.set("lm_head.weight", tensors.get("model.embed_tokens.weight")!),
      fixture,
    );
    for (const directory of [renamed, twice]) {
      const model = await AutoModelForCausalLM.fromPretrained(directory);
      const loaded = model.stateDict().get("model.embed_tokens.weight")!;
      expect(largestDifference(loaded.toFloat32Array(), embedding.data)).toBe(0);
    }
    const different = withTensors((tensors) => {
      tensors.set("lm_head.weight", tensor(new Float32Array(embedding.data.length), { shape: embedding.shape }));
    }, fixture);
    expect((await failure(different)).message).toMatch(
      /ties "lm_head.weight" to "model.embed_tokens.weight".*the two tensors differ/,
    );
  });

  it("lists all tensors that are missing, unexpected and of another shape in one error", async () => {
    const directory = withTensors((tensors) => {
      tensors.delete("model.layers.1.mlp.up_proj.weight");
      tensors.delete("model.norm.weight");
      tensors.set("model.layers.0.self_attn.q_proj.bias", tensor(new Float32Array(32)));
      tensors.set("lm_head.weight", tensor(new Float32Array(415 * 32), { shape: [415, 32] }));
    });
    const error = await failure(directory);
    expect(error).toBeInstanceOf(CheckpointError);
    expect(error.message).toContain(directory);
    expect(error.message).toContain(
      "2 tensors missing: model.layers.1.mlp.up_proj.weight [56, 32], model.norm.weight [32]",
    );
    expect(error.message).toContain("1 tensor not part of the model: model.layers.0.self_attn.q_proj.bias [32] in ");
    expect(error.message).toContain(
      `1 tensor of another shape: lm_head.weight in ${join(directory, "model.safetensors")}: expected [416, 32], found [415, 32]`,
    );
  });

  it("ignores the frequencies that old checkpoints store", async () => {
    const directory = withTensors((tensors) =>
      tensors.set("model.layers.0.self_attn.rotary_emb.inv_freq", tensor(new Float32Array(4))),
    );
    await expect(AutoModelForCausalLM.fromPretrained(directory)).resolves.toBeDefined();
  });

  it("refuses weights of a dtype that cannot be used", async () => {
    const integers = withTensors((tensors) => tensors.set("model.norm.weight", tensor(new Int32Array(32))));
    expect((await failure(integers)).message).toMatch(/model.norm.weight.*floating/);
    const directory = withTensors(() => {});
    const file = join(directory, "model.safetensors");
    const bytes = readFileSync(file);
    // F32 of [32] is 128 bytes, as is F64 of [16]
    const text = bytes
      .toString("latin1")
      .replace(/("model\.norm\.weight":\{"dtype":")F32(","shape":\[)32/, "$1F64$216");
    writeFileSync(file, Buffer.from(text, "latin1"));
    expect((await failure(directory)).message).toMatch(/of another shape: model.norm.weight/);
    using opened = SafetensorsFile.open(file);
    expect(() => opened.tensor("model.norm.weight")).toThrow(SafetensorsError);
    expect(() => opened.tensor("model.norm.weight")).toThrow(
      /dtype F64 cannot be used here; convert it to one of F32, BF16/,
    );
  });

  it("reads tensors that the file does not align", () => {
    const directory = temporaryDirectory();
    const file = join(directory, "odd.safetensors");
    const values = Float32Array.of(1.5, -2, 3.25);
    const header =
      '{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"F32","shape":[3],"data_offsets":[1,13]}}';
    for (const padding of ["", " ", "  ", "   "]) {
      const json = Buffer.from(header + padding);
      const length = Buffer.alloc(8);
      length.writeBigUInt64LE(BigInt(json.byteLength));
      writeFileSync(file, Buffer.concat([length, json, Buffer.of(9), Buffer.from(values.buffer)]));
      using opened = SafetensorsFile.open(file);
      expect(opened.tensor("b").toFloat32Array()).toEqual(values);
      expect(opened.tensor("a").toArray()).toEqual([9]);
    }
  });

  it("keeps tensors alive after the file is closed and removed", async () => {
    const directory = temporaryDirectory();
    cpSync(llama, directory, { recursive: true });
    const expected = readSafetensors(join(llama, "model.safetensors"));
    const model = await AutoModelForCausalLM.fromPretrained(directory);
    rmSync(directory, { recursive: true });
    for (const [name, value] of model.namedParameters()) {
      expect(largestDifference(value.toFloat32Array(), expected.get(name)!.data)).toBe(0);
    }
  });

  it.each<[string, readonly string[], RegExp]>([
    [
      "a pickle checkpoint",
      ["config.json", "pytorch_model.bin"],
      /holds pytorch_model.bin, a pickle file.*Convert it.*save_pretrained/s,
    ],
    [
      "an adapter",
      ["adapter_config.json", "adapter_model.safetensors"],
      /holds an adapter, not a model.*PeftModel.fromPretrained/,
    ],
    ["a GGUF file", ["model.gguf"], /holds model.gguf, a GGUF file/],
    ["no weights", ["config.json"], /expected model.safetensors or model.safetensors.index.json, found config.json/],
    ["nothing", [], /found nothing/],
  ])("says what to do about a directory with %s", async (_, files, message) => {
    const directory = temporaryDirectory();
    for (const file of files) {
      writeFileSync(join(directory, file), "{}");
    }
    const error = await failure(directory);
    expect(error).toBeInstanceOf(CheckpointError);
    expect(error.message).toMatch(message);
  });

  it("says so for a directory that is not there, and for one without config.json", async () => {
    expect((await failure("/nowhere/model")).message).toBe(
      "/nowhere/model: no such directory. Give the folder of a downloaded checkpoint.",
    );
    const directory = withTensors(() => {});
    rmSync(join(directory, "config.json"));
    expect(await failure(directory)).toBeInstanceOf(ConfigError);
  });
});

describe("a sharded checkpoint", () => {
  const source = fixturePath("models", "llama-sharded");
  const index = JSON.parse(readFileSync(join(source, "model.safetensors.index.json"), "utf8")) as {
    weight_map: Record<string, string>;
  };

  function withIndex(weightMap: unknown, change: (directory: string) => void = () => {}): string {
    const directory = join(temporaryDirectory(), "model");
    mkdirSync(directory);
    cpSync(source, directory, { recursive: true });
    writeFileSync(
      join(directory, "model.safetensors.index.json"),
      JSON.stringify({ metadata: {}, weight_map: weightMap }),
    );
    change(directory);
    return directory;
  }

  it.each<[string, unknown, RegExp]>([
    [
      "a file outside of the directory",
      { ...index.weight_map, "model.norm.weight": "../model-00001-of-00003.safetensors" },
      /without a path/,
    ],
    [
      "an absolute path",
      { ...index.weight_map, "model.norm.weight": "/etc/passwd" },
      /end in .safetensors, without a path/,
    ],
    [
      "a tensor in the wrong shard",
      { ...index.weight_map, "model.norm.weight": "model-00001-of-00003.safetensors" },
      /"model.norm.weight" should be in model-00001.*but is not, "model.norm.weight" is in model-00002.*but the index puts it into/,
    ],
    [
      "a tensor that is in no shard",
      { ...index.weight_map, "model.extra": "model-00001-of-00003.safetensors" },
      /"model.extra" should be in model-00001-of-00003.safetensors, but is not/,
    ],
    [
      "a tensor that it does not list",
      Object.fromEntries(Object.entries(index.weight_map).filter(([name]) => name !== "model.norm.weight")),
      /"model.norm.weight" is in model-00002-of-00003.safetensors, but the index does not list it/,
    ],
    ["a list", [], /weight_map: expected an object/],
    ["no map", undefined, /weight_map: expected an object/],
    ["numbers", { a: 1 }, /weight_map: expected an object/],
  ])("is refused when its index has %s", async (_, weightMap, message) => {
    const error = await failure(withIndex(weightMap));
    expect(error).toBeInstanceOf(CheckpointError);
    expect(error.message.replaceAll("\n", " ")).toMatch(message);
  });

  it("is refused when a shard is missing, truncated, or the index has a key twice", async () => {
    const missing = withIndex(index.weight_map, (directory) =>
      rmSync(join(directory, "model-00002-of-00003.safetensors")),
    );
    expect((await failure(missing)).message).toMatch(/shard model-00002-of-00003.safetensors is missing/);
    const truncated = withIndex(index.weight_map, (directory) => {
      const file = join(directory, "model-00002-of-00003.safetensors");
      writeFileSync(file, readFileSync(file).subarray(0, 20_000));
    });
    expect((await failure(truncated)).message).toMatch(
      /model-00002-of-00003.safetensors: tensor .* the file is truncated or damaged/,
    );
    const twice = withIndex(index.weight_map, (directory) =>
      writeFileSync(
        join(directory, "model.safetensors.index.json"),
        '{"weight_map": {"a": "x.safetensors", "a": "x.safetensors"}}',
      ),
    );
    expect((await failure(twice)).message).toMatch(/the key "weight_map.a" occurs twice/);
  });
});

describe("writeSafetensors", () => {
  it("writes what the independent reader reads, aligned, with Hugging Face's metadata", () => {
    const file = join(temporaryDirectory(), "x.safetensors");
    const tensors = new Map<string, Tensor>([
      [
        "b",
        tensor([
          [1, 2],
          [3, 4],
        ]),
      ],
      ["é", tensor(Int32Array.of(5, -6))],
      ["10", fromBytes(Uint8Array.of(1, 0, 1), [3], "bool")],
      ["h", fromBytes(Uint8Array.of(0x80, 0x3f, 0, 0xc0), [2], "bfloat16")],
      ["empty", tensor(new Float32Array(0), { shape: [0, 4] })],
      ["scalar", tensor(7.5)],
      ["long", tensor(BigInt64Array.of(-1n, 2n ** 40n))],
    ]);
    writeSafetensors(file, tensors);
    using opened = SafetensorsFile.open(file);
    const inOrder = [...opened.entries.values()].sort((a, b) => a.begin - b.begin || a.end - b.end);
    expect(inOrder.map((entry) => entry.name)).toEqual(
      ["long", "b", "empty", "scalar", "é", "h", "10"].toSorted(byWidth),
    );
    expect(opened.header.metadata).toEqual(new Map([["format", "pt"]]));
    expect((8 + opened.header.byteLength) % 8).toBe(0);
    const read = readSafetensors(file);
    expect(read.get("b")).toEqual({ dtype: "F32", shape: [2, 2], data: Float32Array.of(1, 2, 3, 4) });
    expect([...read.get("h")!.data]).toEqual([1, -2]);
    for (const [name, value] of tensors) {
      expect(read.get(name)!.shape).toEqual(value.shape);
      expect(opened.tensor(name).toBytes()).toEqual(value.toBytes());
    }
  });

  const widths: Record<string, number> = { long: 8, b: 4, empty: 4, scalar: 4, é: 4, h: 2, "10": 1 };
  const byWidth = (a: string, b: string): number => widths[b]! - widths[a]! || (a < b ? -1 : 1);
});
