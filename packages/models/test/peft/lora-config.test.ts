import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";

import { AdapterConfigError } from "../../src/peft/errors.ts";
import { LoraConfig } from "../../src/peft/lora-config.ts";
import { pythonJson } from "../../src/peft/python-json.ts";

const LORA = new URL("../../../../packages-private/fixtures/lora/", import.meta.url);
const cases = readdirSync(LORA);
// PEFT writes no newline at the end; the fixtures have one.
const read = (name: string): string => readFileSync(new URL(`${name}/adapter_config.json`, LORA), "utf8").trimEnd();

/** A minimal file with some keys changed. */
const file = (changes: object): string =>
  JSON.stringify({ peft_type: "LORA", r: 4, target_modules: ["q_proj"], ...changes }, null, 2);

describe("adapter_config.json", () => {
  it.each(cases)("%s: read and written again, byte for byte", (name) => {
    const json = read(name);
    expect(LoraConfig.parse(json).toJson()).toBe(json);
  });

  it("a new configuration is written with every field of PEFT, in its order", () => {
    const written = new LoraConfig({
      r: 4,
      loraAlpha: 8,
      targetModules: ["v_proj", "q_proj", "q_proj"],
      baseModelNameOrPath: "../../models/llama",
      inferenceMode: true,
      layersToTransform: [1],
      layersPattern: "layers",
    }).toJson();
    expect(written).toBe(read("llama-layers"));
  });

  it("has PEFT's defaults", () => {
    const config = new LoraConfig();
    expect(config).toMatchObject({
      r: 8,
      loraAlpha: 8,
      loraDropout: 0,
      bias: "none",
      targetModules: null,
      initLoraWeights: true,
      useRslora: false,
      useDora: false,
      taskType: "CAUSAL_LM",
      warnings: [],
    });
  });

  it("writes floats and text as Python does", () => {
    expect(pythonJson({ b: { float: 0.05 }, a: [{ float: 1 }, { float: 1e-5 }, { float: 1.5e-7 }] })).toBe(
      '{\n  "a": [\n    1.0,\n    1e-05,\n    1.5e-07\n  ],\n  "b": 0.05\n}',
    );
    expect(pythonJson([{ float: 1e16 }, { float: 1e15 }, { float: 0.0001 }])).toBe(
      "[\n  1e+16,\n  1000000000000000.0,\n  0.0001\n]",
    );
    expect(pythonJson("é😀\u007f\n")).toBe('"\\u00e9\\ud83d\\ude00\\u007f\\n"');
    expect(pythonJson({ "😀": [], "\uffee": {} })).toBe('{\n  "\\uffee": {},\n  "\\ud83d\\ude00": []\n}');
  });

  it("counts unknown keys that are switched off, and refuses those that are on", () => {
    const config = LoraConfig.parse(file({ new_variant: null, other_variant: false, third: {} }));
    expect(config.warnings).toHaveLength(1);
    expect(config.warnings[0]).toMatch(/ignored 3 unknown key.*new_variant.*other_variant.*third/);
    expect(() => LoraConfig.parse(file({ new_variant: true }), "out/adapter_config.json")).toThrow(
      /out\/adapter_config\.json:7: "new_variant" is not a key/,
    );
  });

  it("null patterns mean none", () => {
    expect(LoraConfig.parse(file({ rank_pattern: null })).rankPattern).toEqual({});
  });

  it.each<[what: string, changes: object, complaint: RegExp]>([
    ["another method", { peft_type: "IA3" }, /:2: "peft_type" is "IA3"/],
    ["no method", { peft_type: undefined }, /"peft_type" is missing/],
    ["rank zero", { r: 0 }, /:3: "r" must be a positive integer up to 65536, found 0/],
    ["rank as text", { r: "8" }, /found "8"/],
    ["half a rank", { r: 4.5 }, /positive integer/],
    ["a dropout above 1", { lora_dropout: 1.1 }, /"lora_dropout" must be a number from 0 to 1/],
    ["a wrong bias", { bias: "lora" }, /"none", "all" or "lora_only"/],
    ["an unknown initialisation", { init_lora_weights: "gausian" }, /"gaussian"/],
    ["an initialisation of the base", { init_lora_weights: "pissa_niter_4" }, /changes the base weights/],
    ["a misspelt key", { lora_alfa: 16 }, /Did you mean "lora_alpha"/],
    ["camel case in a file", { loraAlpha: 16 }, /"loraAlpha" is not a key/],
    ["a name of every object", { constructor: 1 }, /"constructor" is not a key/],
    ["lora_bias", { lora_bias: true }, /"lora_bias" is true, which is not implemented/],
    ["arrow", { arrow_config: { top_k: 3 } }, /"arrow_config"/],
    ["layer replication", { layer_replication: [[0, 2]] }, /"layer_replication"/],
    [
      "layers of an expression",
      { target_modules: ".*q", layers_to_transform: [1] },
      /"layers_to_transform" cannot be used/,
    ],
    ["a pattern without layers", { layers_pattern: ["h"] }, /"layers_pattern" needs layers_to_transform/],
    ["a rank pattern of zero", { rank_pattern: { q_proj: 0 } }, /"rank_pattern"/],
    ["modules to save as text", { modules_to_save: "lm_head" }, /"modules_to_save" must be a list/],
  ])("refuses %s", (_, changes, complaint) => {
    expect(() => LoraConfig.parse(file(changes))).toThrow(AdapterConfigError);
    expect(() => LoraConfig.parse(file(changes))).toThrow(complaint);
  });

  it("refuses text that is not a JSON object, and duplicate keys", () => {
    expect(() => LoraConfig.parse("{", "a.json")).toThrow(/a\.json is not valid JSON/);
    expect(() => LoraConfig.parse("[]", "a.json")).toThrow(/must hold a JSON object/);
    expect(() => LoraConfig.parse('{"r": 4, "r": 8}', "a.json")).toThrow(/duplicate keys: r/);
    expect(() => LoraConfig.fromPretrained("/nowhere")).toThrow(
      /\/nowhere\/adapter_config\.json cannot be read \(ENOENT\)/,
    );
  });

  it("in code, names are camelCase", () => {
    const misspelt = { loraAlfa: 16 } as object;
    expect(() => new LoraConfig(misspelt)).toThrow(/LoraConfig: "loraAlfa".*Did you mean "loraAlpha"/);
    expect(() => new LoraConfig({ r: -1 })).toThrow(/LoraConfig: "r" must be a positive integer up to 65536, found -1/);
    expect(new LoraConfig({ r: 4, useRslora: true }).with({ loraAlpha: 2 })).toMatchObject({
      r: 4,
      loraAlpha: 2,
      useRslora: true,
    });
  });
});
