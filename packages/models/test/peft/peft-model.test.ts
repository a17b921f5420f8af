import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { cast, defaultGenerator, Generator, manualSeed, scope, tensor, type Tensor } from "@fms-accel/tensor";
import { fixturePath, readSafetensors, relativeDifference, temporaryDirectory } from "@fms-accel/test-utilities";
import { describe, expect, it } from "vitest";

import { AutoModelForCausalLM } from "../../src/auto/auto-model.ts";
import { savePretrained } from "../../src/auto/save-pretrained.ts";
import type { CausalLM } from "../../src/modeling/causal-lm.ts";
import { AdapterConfigError, AdapterError } from "../../src/peft/errors.ts";
import { LoraConfig, type LoraConfigOptions } from "../../src/peft/lora-config.ts";
import { LoraLinear } from "../../src/peft/lora-linear.ts";
import { getPeftModel, PeftModel } from "../../src/peft/peft-model.ts";
import type { NewAdapterOptions } from "../../src/peft/adapter-options.ts";
import { writeSafetensors } from "../../src/safetensors/writer.ts";

const scratch = temporaryDirectory();
let used = 0;
const newDirectory = (): string => join(scratch, String(used++));

const base = (name = "llama"): Promise<CausalLM> =>
  AutoModelForCausalLM.fromPretrained(fixturePath("models", name), { dtype: "float32" });

async function adapted(
  options: LoraConfigOptions,
  { name = "llama", ...more }: NewAdapterOptions & { name?: string } = {},
): Promise<{ model: PeftModel; warnings: string[] }> {
  const warnings: string[] = [];
  const model = getPeftModel(await base(name), new LoraConfig(options), {
    generator: new Generator(5),
    onWarning: (message) => warnings.push(message),
    ...more,
  });
  return { model, warnings };
}

const ids = tensor(Int32Array.from([5, 9, 33, 101, 7, 300]), { shape: [1, 6] });
const logits = (model: CausalLM): Float32Array => scope(() => model.forward({ inputIds: ids }).logits.toFloat32Array());

/** Moves B away from 0, so that the adapter has an effect. */
function disturb(model: PeftModel, adapter = "default", by = 0.05): void {
  for (const [key, parameter] of model.adapterStateDict(adapter)) {
    if (key.includes("lora_B")) {
      parameter.copyFrom(Float32Array.from({ length: parameter.numel }, (_, index) => by * Math.cos(index)));
    }
  }
}

const pathsOf = (model: PeftModel): string[] =>
  [...model.baseModel.namedModules()].flatMap(([path, module]) => (module instanceof LoraLinear ? [path] : []));

const bytes = async (seed: number): Promise<string> => {
  const { model } = await adapted({ r: 2 }, { generator: new Generator(seed) });
  return [...model.adapterStateDict().values()].map((value) => Buffer.from(value.toBytes()).toString("hex")).join();
};

const gradientsOf = async (gradientCheckpointing: boolean): Promise<Float32Array[]> => {
  const { model } = await adapted({ modulesToSave: ["mlp"], loraDropout: 0.3 });
  disturb(model);
  model.gradientCheckpointing = gradientCheckpointing;
  model.train();
  scope(() => model.forward({ inputIds: ids, labels: ids }).loss!.backward());
  return [...model.adapterStateDict().values()].map((parameter) => parameter.grad!.toFloat32Array());
};

const copyOf = (name: string): string => {
  const directory = newDirectory();
  cpSync(fixturePath("lora", name), directory, { recursive: true });
  return directory;
};

const tensorsOf = (directory: string): Map<string, Tensor> =>
  new Map(
    [...readSafetensors(join(directory, "adapter_model.safetensors"))].map(([key, { data, shape }]) => [
      key,
      tensor(data as Float32Array, { shape }),
    ]),
  );

const load = async (directory: string, name = "llama"): Promise<PeftModel> =>
  PeftModel.fromPretrained(await base(name), directory);

describe("getPeftModel", () => {
  it("all-linear adapts every linear layer but the head, and writes the list as PEFT does", async () => {
    const { model } = await adapted({ targetModules: "all-linear" });
    const names = ["q_proj", "k_proj", "v_proj", "o_proj"]
      .map((name) => `self_attn.${name}`)
      .concat(["gate_proj", "up_proj", "down_proj"].map((name) => `mlp.${name}`));
    expect(pathsOf(model).toSorted()).toEqual(
      [0, 1].flatMap((layer) => names.map((name) => `model.layers.${layer}.${name}`)).toSorted(),
    );
    expect(model.peftConfig.get("default")!.targetModules).toHaveLength(14);
    const { model: upper } = await adapted({ targetModules: "ALL-Linear", excludeModules: ["down_proj"] });
    expect(pathsOf(upper)).toHaveLength(12);
  });

  it("takes PEFT's default for the model type", async () => {
    const { model } = await adapted({});
    expect(model.peftConfig.get("default")!.targetModules).toEqual(["q_proj", "v_proj"]);
    expect(pathsOf(model)).toHaveLength(4);
  });

  it("freezes the base, trains the adapter, keeps the mode", async () => {
    const { model } = await adapted({ r: 2 });
    expect(model.training).toBe(false);
    const trained = [...model.namedParameters()]
      .filter(([, parameter]) => parameter.requiresGrad)
      .map(([name]) => name);
    expect(trained).toHaveLength(8);
    expect(trained[0]).toBe("base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight");
    expect(model.train().baseModel.getSubmodule("model.layers.0.self_attn.q_proj.lora_A.default").training).toBe(true);
  });

  it("the same generator state gives the same adapter", async () => {
    expect(await bytes(1)).toBe(await bytes(1));
    expect(await bytes(1)).not.toBe(await bytes(2));
  });

  it("A and B are float32 over a bfloat16 base, unless autocastAdapterDType is off", async () => {
    const model = await AutoModelForCausalLM.fromPretrained(fixturePath("models", "llama"), { dtype: "bfloat16" });
    const wide = getPeftModel(model, new LoraConfig());
    expect([...wide.adapterStateDict().values()].every(({ dtype }) => dtype === "float32")).toBe(true);
    expect(wide.forward({ inputIds: ids }).logits.dtype).toBe("bfloat16");
    wide.unload();
    const narrow = getPeftModel(model, new LoraConfig(), { autocastAdapterDType: false });
    expect([...narrow.adapterStateDict().values()].every(({ dtype }) => dtype === "bfloat16")).toBe(true);
  });

  it.each<[what: string, options: LoraConfigOptions, complaint: RegExp]>([
    ["a name that nothing has", { targetModules: ["q_prj"] }, /\["q_prj"\] matches no module.*Did you mean "q_proj"/],
    ["an expression for an ending", { targetModules: "q_proj" }, /whole module names.*re\.fullmatch/],
    [
      "a layer that is not there",
      { targetModules: ["q_proj"], layersToTransform: [7] },
      /layers_to_transform is \[7\]/,
    ],
    ["everything excluded", { targetModules: ["q_proj"], excludeModules: ["q_proj"] }, /excluded by exclude_modules/],
    ["a block", { targetModules: ["self_attn"] }, /"model\.layers\.0\.self_attn" is of the kind LlamaAttention/],
    [
      "a module to save that nothing has",
      { modulesToSave: ["lm_haed"] },
      /no module "lm_haed"\. Did you mean "lm_head"/,
    ],
    [
      "a module to save within another",
      { modulesToSave: ["model", "embed_tokens"], targetModules: ["lm_head"] },
      /"model" and "model\.embed_tokens" within it/,
    ],
    [
      "a parameter that is no matrix",
      { targetParameters: ["norm.weight"] },
      /norm\.weight cannot be adapted.*q_proj\.weight/,
    ],
    ["dropout of a parameter", { targetParameters: ["o_proj.weight"], loraDropout: 0.1 }, /lora_dropout must be 0/],
    ["DoRA of a parameter", { targetParameters: ["o_proj.weight"], useDora: true }, /use_dora is not possible/],
    ["a layer twice", { targetParameters: ["q_proj.weight"] }, /layers\.0\.self_attn\.q_proj" is targeted twice/],
    ["nothing at all", { targetModules: [], targetParameters: ["experts.up"] }, /matches no module/],
    [
      "an initialisation of loaded adapters",
      { initLoraWeights: "orthogonal" },
      /"orthogonal" is not implemented for new/,
    ],
    ["an expression that JavaScript lacks", { targetModules: "(?>q_proj)" }, /no JavaScript counterpart/],
  ])("refuses %s, and leaves the model as it was", async (_, options, complaint) => {
    const model = await base();
    const before = [...model.namedModules()].map(([path, module]) => `${path}: ${module.constructor.name}`);
    expect(() => getPeftModel(model, new LoraConfig(options))).toThrow(complaint);
    expect([...model.namedModules()].map(([path, module]) => `${path}: ${module.constructor.name}`)).toEqual(before);
  });

  it("says what has no effect", async () => {
    const { warnings } = await adapted({
      targetModules: ["q_proj", "query"],
      excludeModules: ["nothing"],
      rankPattern: { v_proj: 4 },
      alphaPattern: { q_proj: 4 },
      fanInFanOut: true,
    });
    expect(warnings.map((message) => message.replace(/^adapter "default": /, ""))).toEqual([
      expect.stringMatching(/fan_in_fan_out.*taken as false/),
      "target_modules: nothing is adapted by query",
      "rank_pattern: no adapted module matches v_proj",
      "exclude_modules excludes no module",
    ]);
  });

  it("warns of tied weights", async () => {
    const { warnings } = await adapted({ modulesToSave: ["embed_tokens"] }, { name: "llama3-rope" });
    expect(warnings[0]).toMatch(/model\.embed_tokens shares its weight with another module/);
  });

  it("one model takes one PeftModel", async () => {
    const { model } = await adapted({});
    expect(() => getPeftModel(model.baseModel, new LoraConfig())).toThrow(/has adapters already/);
  });
});

describe("several adapters", () => {
  it("are loaded, switched, combined and removed", async () => {
    const { model } = await adapted({ targetModules: ["q_proj"] });
    const plain = model.disableAdapter(() => logits(model));
    disturb(model);
    const first = logits(model);
    model.addAdapter(new LoraConfig({ targetModules: ["q_proj", "up_proj"] }), { adapterName: "second" });
    disturb(model, "second", 0.08);
    expect(logits(model)).toEqual(first); // not active yet
    expect([...model.adapterStateDict("second").values()].some(({ requiresGrad }) => requiresGrad)).toBe(false);

    model.setAdapter("second");
    const second = logits(model);
    expect(relativeDifference(second, first)).toBeGreaterThan(1e-3);
    expect([...model.adapterStateDict("second").values()].every(({ requiresGrad }) => requiresGrad)).toBe(true);
    expect([...model.adapterStateDict("default").values()].some(({ requiresGrad }) => requiresGrad)).toBe(false);

    model.setAdapter(["default", "second"]);
    expect(relativeDifference(logits(model), second)).toBeGreaterThan(1e-3);
    expect(model.disableAdapter(() => logits(model))).toEqual(plain);

    const directory = newDirectory();
    model.savePretrained(directory);
    expect(readdirSync(directory).toSorted()).toEqual([
      "README.md",
      "adapter_config.json",
      "adapter_model.safetensors",
      "second",
    ]);
    const again = await PeftModel.fromPretrained(await base(), directory);
    await again.loadAdapter(join(directory, "second"), { adapterName: "second" });
    expect(logits(again)).toEqual(first);
    again.setAdapter("second");
    expect(logits(again)).toEqual(second);
    expect(again.countParameters().trainable).toBe(0);

    model.deleteAdapter("default");
    expect(model.activeAdapters).toEqual(["second"]);
    expect(logits(model)).toEqual(second);
    model.deleteAdapter("second");
    expect(pathsOf(model)).toEqual([]);
    expect(logits(model)).toEqual(plain);
  });

  it("names must be usable and known", async () => {
    const { model } = await adapted({});
    for (const name of ["a.b", "", "train", "training", "../up", "get"]) {
      expect(() => model.addAdapter(new LoraConfig(), { adapterName: name })).toThrow(/adapter name/);
    }
    expect(() => model.addAdapter(new LoraConfig())).toThrow(/adapter "default" already/);
    expect(() => model.setAdapter("defualt")).toThrow(/no adapter "defualt"\. Did you mean "default"/);
    expect(() => model.deleteAdapter("other")).toThrow(AdapterError);
  });

  it("only one may train biases, only one may bring a module", async () => {
    const { model } = await adapted({ bias: "all", modulesToSave: ["lm_head"] }, { name: "llama-bias" });
    expect(() => model.addAdapter(new LoraConfig({ bias: "lora_only" }), { adapterName: "b" })).toThrow(
      /only one adapter.*biases/,
    );
    model.addAdapter(new LoraConfig({ modulesToSave: ["lm_head"] }), { adapterName: "c" });
    expect(() => model.setAdapter(["default", "c"])).toThrow(/default, c have modules_to_save in common/);
  });
});

describe("biases and modules to save", () => {
  it("train copies: the base model's own values stay", async () => {
    const { model } = await adapted({ modulesToSave: ["embed_tokens", "norm"] });
    const plain = model.disableAdapter(() => logits(model));
    expect(logits(model)).toEqual(plain);
    const saved = [...model.adapterStateDict().keys()].filter((key) => !key.includes("lora_"));
    expect(saved).toContain("base_model.model.model.embed_tokens.weight");
    expect(saved).toContain("base_model.model.model.layers.1.input_layernorm.weight"); // its name ends with "norm"
    scope(() => model.forward({ inputIds: ids, labels: ids }).loss!.backward());
    for (const key of saved) {
      const parameter = model.adapterStateDict().get(key)!;
      expect(parameter.grad, key).toBeDefined();
      parameter.copyFrom(Float32Array.from(parameter.toFloat32Array(), (value) => value + 0.5));
    }
    expect(relativeDifference(logits(model), plain)).toBeGreaterThan(1e-2);
    expect(model.disableAdapter(() => logits(model))).toEqual(plain);
    expect(logits(model.unload())).toEqual(plain);
  });

  it("merging one of two tied weights unties them, also in the saved checkpoint", async () => {
    for (const options of [{ modulesToSave: ["embed_tokens"] }, { targetModules: ["lm_head"] }]) {
      const { model } = await adapted(options, { name: "llama3-rope" });
      for (const parameter of model.adapterStateDict().values()) {
        parameter.copyFrom(
          Float32Array.from(parameter.toFloat32Array(), (value, index) => value + 0.1 * Math.sin(index)),
        );
      }
      const before = logits(model);
      const merged = model.mergeAndUnload();
      expect(relativeDifference(logits(merged), before)).toBeLessThan(1e-5);
      expect(merged.config.tieWordEmbeddings).toBe(false);
      const directory = newDirectory();
      savePretrained(merged, directory);
      expect(logits(await AutoModelForCausalLM.fromPretrained(directory))).toEqual(logits(merged));
    }
    const { model } = await adapted({}, { name: "llama3-rope" });
    expect(model.mergeAndUnload().config.tieWordEmbeddings).toBe(true);
  });

  it.each([
    { targetModules: ["lm_head", "c_attn"], ensureWeightTying: true },
    { targetModules: ["c_attn"], modulesToSave: ["lm_head"], ensureWeightTying: true },
  ])("a tied head is found again where the embedding is not called embed_tokens: %o", async (options) => {
    const { model } = await adapted({ r: 2, ...options }, { name: "gpt2" });
    for (const [key, parameter] of model.adapterStateDict()) {
      if (parameter.requiresGrad) {
        const changed = Float32Array.from(parameter.toFloat32Array(), (value, index) => value + 0.1 * Math.sin(index));
        expect(changed.length, key).toBeGreaterThan(0);
        parameter.copyFrom(changed);
      }
    }
    const [saved, again] = [newDirectory(), newDirectory()];
    model.savePretrained(saved);
    const opened = await PeftModel.fromPretrained(await base("gpt2"), saved);
    expect(logits(opened)).toEqual(logits(model));
    opened.savePretrained(again);
    for (const file of ["adapter_config.json", "adapter_model.safetensors"]) {
      expect(readFileSync(join(again, file))).toEqual(readFileSync(join(saved, file)));
    }
  });

  it("checkpointed layers compute with the copies too", async () => {
    manualSeed(3);
    const plain = await gradientsOf(false);
    manualSeed(3);
    expect(await gradientsOf(true)).toEqual(plain);
  });

  it("biases of a mapped checkpoint become writable copies", async () => {
    const { model } = await adapted({ bias: "lora_only", targetModules: ["q_proj"] }, { name: "llama-bias" });
    const biases = [...model.adapterStateDict()].filter(([key]) => key.endsWith(".bias"));
    expect(biases.map(([key]) => key)).toEqual(
      [0, 1].map((layer) => `base_model.model.model.layers.${layer}.self_attn.q_proj.base_layer.bias`),
    );
    const before = logits(model);
    biases.forEach(([, bias]) => bias.copyFrom(new Float32Array(bias.numel)));
    expect(relativeDifference(logits(model), before)).toBeGreaterThan(1e-3);
  });
});

describe("loading", () => {
  it("names every tensor that does not fit", async () => {
    const directory = copyOf("llama-qv");
    const tensors = tensorsOf(directory);
    const [first, second] = tensors.keys();
    tensors.delete(first!);
    tensors.set(second!, tensor(new Float32Array(6), { shape: [2, 3] }));
    tensors.set("base_model.model.other", tensor([1]));
    writeSafetensors(join(directory, "adapter_model.safetensors"), tensors);
    const error = await load(directory).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(error).toBeInstanceOf(AdapterError);
    const { message } = error as Error;
    expect(message).toContain(join(directory, "adapter_model.safetensors"));
    expect(message).toMatch(/1 missing: .*layers\.0\.self_attn\.q_proj\.lora_A\.weight/);
    expect(message).toMatch(/1 of another shape: .*lora_B\.weight \(expected \[32, 8\], found \[2, 3\]\)/);
    expect(message).toMatch(/1 not part of the adapter: base_model\.model\.other/);
  });

  it("an adapter of another base model", async () => {
    await expect(load(fixturePath("lora", "llama-qv"), "llama-bias")).rejects.toThrow(
      /probably trained on another base model/,
    );
    await expect(load(fixturePath("lora", "gpt2"))).rejects.toThrow(/"c_attn".* matches no module/);
  });

  it("a failed load leaves no adapter behind", async () => {
    const model = await base();
    const directory = copyOf("llama-head");
    rmSync(join(directory, "adapter_model.safetensors"));
    await expect(PeftModel.fromPretrained(model, directory)).rejects.toThrow(/expected adapter_model\.safetensors/);
    expect([...model.namedModules()].some(([, module]) => /Lora|Wrapper/.test(module.constructor.name))).toBe(false);
  });

  it("pickles are not read", async () => {
    const directory = copyOf("llama-qv");
    rmSync(join(directory, "adapter_model.safetensors"));
    writeFileSync(join(directory, "adapter_model.bin"), "");
    await expect(load(directory)).rejects.toThrow(/pickle file/);
  });

  it("a directory that is none, and damaged files", async () => {
    await expect(load("/nowhere")).rejects.toThrow(AdapterConfigError);
    const directory = copyOf("llama-qv");
    const file = join(directory, "adapter_model.safetensors");
    writeFileSync(file, readFileSync(file).subarray(0, 3000));
    await expect(load(directory)).rejects.toThrow(/truncated|beyond|bytes/);
  });

  it("converts to the adapter's dtype, and keeps an existing model card", async () => {
    const directory = copyOf("llama-qv");
    const narrow = new Map([...tensorsOf(directory)].map(([key, value]) => [key, cast(value, "bfloat16")]));
    writeSafetensors(join(directory, "adapter_model.safetensors"), narrow);
    const model = await load(directory);
    expect([...model.adapterStateDict().values()].every(({ dtype }) => dtype === "float32")).toBe(true);
    const target = newDirectory();
    mkdirSync(target);
    writeFileSync(join(target, "README.md"), "mine");
    model.savePretrained(target);
    expect(readFileSync(join(target, "README.md"), "utf8")).toBe("mine");
    expect(existsSync(join(target, "adapter_config.json"))).toBe(true);
  });

  it("random numbers of the caller are not used up", async () => {
    const before = defaultGenerator.state();
    await load(fixturePath("lora", "llama-qv"));
    expect(defaultGenerator.state()).toEqual(before);
  });

  it("initialisations that only training needs are kept in the configuration", async () => {
    const directory = copyOf("llama-qv");
    const file = join(directory, "adapter_config.json");
    writeFileSync(
      file,
      readFileSync(file, "utf8").replace('"init_lora_weights": true', '"init_lora_weights": "orthogonal"'),
    );
    const model = await load(directory);
    expect(model.peftConfig.get("default")!.initLoraWeights).toBe("orthogonal");
  });

  it("weights of an adapted head come along, and replace others", async () => {
    const { model } = await adapted({ targetModules: ["lm_head", "q_proj"] });
    disturb(model);
    const directory = newDirectory();
    model.savePretrained(directory);
    const key = "base_model.model.lm_head.base_layer.weight";
    expect([...tensorsOf(directory).keys()]).toContain(key);
    expect([...model.adapterStateDict().keys()]).not.toContain(key);

    const warnings: string[] = [];
    const onWarning = (message: string): void => void warnings.push(message);
    const same = await PeftModel.fromPretrained(await base(), directory, { onWarning });
    expect(logits(same)).toEqual(logits(model));
    expect(warnings).toEqual([]);

    const tensors = tensorsOf(directory);
    const changed = Float32Array.from(tensors.get(key)!.toFloat32Array(), (value) => value + 0.25);
    tensors.set(key, tensor(changed, { shape: tensors.get(key)!.shape }));
    writeSafetensors(join(directory, "adapter_model.safetensors"), tensors);
    const other = await PeftModel.fromPretrained(await base(), directory, { onWarning });
    expect(warnings).toEqual([expect.stringMatching(/replace the model's own: base_model\.model\.lm_head/)]);
    expect(relativeDifference(logits(other), logits(model))).toBeGreaterThan(1e-2);
    const again = newDirectory();
    other.savePretrained(again);
    const file = "adapter_model.safetensors";
    expect(Buffer.compare(readFileSync(join(again, file)), readFileSync(join(directory, file)))).toBe(0);
  });

  it("weights of an adapted embedding and the head tied to it come along", async () => {
    const open = (): Promise<CausalLM> => base("llama3-rope");
    const config = new LoraConfig({ r: 2, targetModules: ["embed_tokens", "lm_head"], ensureWeightTying: true });
    const model = getPeftModel(await open(), config, { generator: new Generator(0) });
    disturb(model);
    const directory = newDirectory();
    model.savePretrained(directory);
    expect([...tensorsOf(directory).keys()]).toEqual(
      expect.arrayContaining(
        ["lm_head", "model.embed_tokens"].map((path) => `base_model.model.${path}.base_layer.weight`),
      ),
    );
    const same = await PeftModel.fromPretrained(await open(), directory);
    expect(logits(same)).toEqual(logits(model));
  });

  it("a resized vocabulary is kept in both places of a tied weight", async () => {
    const directory = copyOf("llama-qv");
    const model = await base("llama3-rope");
    const tied = model.stateDict().get("lm_head.weight")!;
    const config = new LoraConfig({ r: 2, targetModules: ["q_proj"] });
    const peft = getPeftModel(model, config, { generator: new Generator(0) });
    const values = tensor(
      Float32Array.from(tied.toFloat32Array(), (value) => value * 2),
      { shape: tied.shape },
    );
    const tensors = new Map([
      ...peft.adapterStateDict(),
      ["base_model.model.model.embed_tokens.weight", values] as const,
    ]);
    writeSafetensors(join(directory, "adapter_model.safetensors"), tensors);
    writeFileSync(join(directory, "adapter_config.json"), config.toJson());
    const loaded = await PeftModel.fromPretrained(await base("llama3-rope"), directory, { onWarning: () => undefined });
    const weights = loaded.stateDict();
    expect(weights.get("base_model.model.lm_head.weight")).toBe(
      weights.get("base_model.model.model.embed_tokens.weight"),
    );
    expect(weights.get("base_model.model.lm_head.weight")!.toFloat32Array()).toEqual(values.toFloat32Array());
  });
});
