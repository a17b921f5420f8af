import { join } from "node:path";

import { camelCase, codeSource, type FieldSource, type Json } from "../settings/field-table.ts";
import { ADAPTER_CONFIG_NAME, parseAdapterConfig, readAdapterConfig } from "./adapter-config-file.ts";
import { checkLoraFields, LORA_FIELDS } from "./lora-config-fields.ts";
import { pythonJson, type PythonJsonValue } from "./python-json.ts";

export type LoraBias = "none" | "all" | "lora_only";

/** The settings of a LoRA adapter: PEFT's fields in camelCase, all optional. */
export interface LoraConfigOptions {
  /** Rank. Default 8. */
  readonly r?: number | undefined;
  /** The adapter's product is multiplied by loraAlpha / r, with rsLoRA by loraAlpha / sqrt(r). Default 8. */
  readonly loraAlpha?: number | undefined;
  /** Probability of dropping an element of a module's input before A, in training. Default 0. */
  readonly loraDropout?: number | undefined;
  /**
   * Modules to adapt: a list of names or name endings (`q_proj`, `self_attn.q_proj`), a Python regular expression that must match
   * whole names, or `all-linear` for every linear layer but the output head. null: PEFT's default for the model type.
   */
  readonly targetModules?: string | readonly string[] | null | undefined;
  /** Modules that are left out although they are targeted, given as targetModules. */
  readonly excludeModules?: string | readonly string[] | null | undefined;
  /** Further modules, by name or name ending, that are trained in full and saved with the adapter. */
  readonly modulesToSave?: readonly string[] | null | undefined;
  /**
   * Parameters to adapt, by name or name ending, for weights that are no linear layer in transformers 5: `experts.gate_up_proj`,
   * `experts.down_proj`, and the router's `gate.weight` (GraniteMoE: `router.weight`). Needs loraDropout 0.
   */
  readonly targetParameters?: readonly string[] | null | undefined;
  /** Index or indices of the layers to adapt; needs targetModules as a list. */
  readonly layersToTransform?: number | readonly number[] | null | undefined;
  /** Name(s) of the list of layers that layersToTransform counts in, such as `layers`. */
  readonly layersPattern?: string | readonly string[] | null | undefined;
  /** Ranks of modules that differ from r; keys are name endings or expressions for them. */
  readonly rankPattern?: Readonly<Record<string, number>> | undefined;
  /** The same for loraAlpha. */
  readonly alphaPattern?: Readonly<Record<string, number>> | undefined;
  /** Weights of the adapted modules are stored [in, out] (GPT-2's Conv1D). Set by the module found, as PEFT does. */
  readonly fanInFanOut?: boolean | undefined;
  /** Where the embedding and the output head share a weight, and one of them is adapted or saved: both are, with one set of factors. */
  readonly ensureWeightTying?: boolean | undefined;
  /** Which biases are trained and saved too. Default "none". */
  readonly bias?: LoraBias | undefined;
  /** Rank-stabilised scaling (arXiv:2312.03732). */
  readonly useRslora?: boolean | undefined;
  /** Weight-decomposed adaptation (arXiv:2402.09353). */
  readonly useDora?: boolean | undefined;
  /**
   * true: A uniform in ±1/sqrt(in), B zero; "gaussian": A normal with deviation 1/r, B zero; false: A and B both uniform, so that the
   * adapter changes the model from the first step.
   */
  readonly initLoraWeights?: boolean | string | undefined;
  /** Default "CAUSAL_LM": this package has no other models. */
  readonly taskType?: string | null | undefined;
  readonly baseModelNameOrPath?: string | null | undefined;
  readonly revision?: string | null | undefined;
  readonly inferenceMode?: boolean | undefined;
  readonly peftVersion?: string | null | undefined;
}

const CONSTRUCTOR = codeSource(LORA_FIELDS, "LoraConfig");

type Settings = { readonly [K in keyof LoraConfigOptions]-?: Exclude<LoraConfigOptions[K], undefined> };

/**
 * Settings of a LoRA adapter, immutable, with PEFT's names, defaults and file format.
 * @throws AdapterConfigError for an unknown field, a value of the wrong kind, or a contradiction between fields
 */
export class LoraConfig implements Settings {
  readonly peftType = "LORA";
  readonly r: number;
  readonly loraAlpha: number;
  readonly loraDropout: number;
  readonly targetModules: string | readonly string[] | null;
  readonly excludeModules: string | readonly string[] | null;
  readonly modulesToSave: readonly string[] | null;
  readonly targetParameters: readonly string[] | null;
  readonly layersToTransform: number | readonly number[] | null;
  readonly layersPattern: string | readonly string[] | null;
  readonly rankPattern: Readonly<Record<string, number>>;
  readonly alphaPattern: Readonly<Record<string, number>>;
  readonly fanInFanOut: boolean;
  readonly ensureWeightTying: boolean;
  readonly bias: LoraBias;
  readonly useRslora: boolean;
  readonly useDora: boolean;
  readonly initLoraWeights: boolean | string;
  readonly taskType: string | null;
  readonly baseModelNameOrPath: string | null;
  readonly revision: string | null;
  readonly inferenceMode: boolean;
  readonly peftVersion: string | null;
  /** What was ignored on the way in, for the user to see. */
  readonly warnings: readonly string[];
  /** Every field by its name in the file, including those without effect: what was read is written again. */
  readonly #values: ReadonlyMap<string, Json>;

  /** @param source where the options were read from; only messages depend on it */
  constructor(options: LoraConfigOptions = {}, source: FieldSource = CONSTRUCTOR) {
    const given = Object.entries(options).filter(([name]) => name !== "peftType");
    const { values, warnings } = checkLoraFields(given, source);
    const settings = Object.fromEntries(
      [...values].map(([key, value]) => [camelCase(key), value]),
    ) as unknown as Settings;
    this.r = settings.r;
    this.loraAlpha = settings.loraAlpha;
    this.loraDropout = settings.loraDropout;
    this.targetModules = settings.targetModules;
    this.excludeModules = settings.excludeModules;
    this.modulesToSave = settings.modulesToSave;
    this.targetParameters = settings.targetParameters;
    this.layersToTransform = settings.layersToTransform;
    this.layersPattern = settings.layersPattern;
    // Python's None means "no pattern", as an empty object does.
    this.rankPattern = settings.rankPattern ?? {};
    this.alphaPattern = settings.alphaPattern ?? {};
    this.fanInFanOut = settings.fanInFanOut;
    this.ensureWeightTying = settings.ensureWeightTying;
    this.bias = settings.bias;
    this.useRslora = settings.useRslora;
    this.useDora = settings.useDora;
    this.initLoraWeights = settings.initLoraWeights;
    this.taskType = settings.taskType;
    this.baseModelNameOrPath = settings.baseModelNameOrPath;
    this.revision = settings.revision;
    this.inferenceMode = settings.inferenceMode;
    this.peftVersion = settings.peftVersion;
    this.warnings = warnings;
    this.#values = values;
  }

  /** Tags of the model card. */
  get tags(): readonly string[] {
    return this.useDora ? ["dora", "lora"] : ["lora"];
  }

  /** A copy with some settings changed. */
  with(changes: LoraConfigOptions): LoraConfig {
    const current = Object.fromEntries([...this.#values].map(([key, value]) => [camelCase(key), value]));
    return new LoraConfig({ ...current, ...changes });
  }

  /**
   * Reads the text of an adapter_config.json.
   * @param file name for messages
   * @throws AdapterConfigError with file and line
   */
  static parse(json: string, file: string = ADAPTER_CONFIG_NAME): LoraConfig {
    const { fields, source } = parseAdapterConfig(json, file, "LORA");
    return new LoraConfig(Object.fromEntries(fields), source);
  }

  /** Reads `adapter_config.json` of an adapter directory. @throws AdapterConfigError */
  static fromPretrained(directory: string): LoraConfig {
    return LoraConfig.parse(readAdapterConfig(directory), join(directory, ADAPTER_CONFIG_NAME));
  }

  /** The text of adapter_config.json as PEFT writes it: every field, keys sorted, module lists sorted. */
  toJson(): string {
    const fields: Record<string, PythonJsonValue> = { peft_type: this.peftType };
    for (const [key, value] of this.#values) {
      fields[key] = key === "lora_dropout" ? { float: this.loraDropout } : value;
    }
    for (const key of ["target_modules", "exclude_modules"]) {
      const value = fields[key];
      if (Array.isArray(value)) {
        fields[key] = [...new Set(value as string[])].sort();
      }
    }
    return pythonJson(fields);
  }
}
