import { didYouMean } from "../messages/did-you-mean.ts";
import { AdapterConfigError } from "./errors.ts";

/** The version of PEFT whose adapter_config.json this package writes. */
export const PEFT_VERSION = "0.21.2";

/** What the fields of an adapter_config.json hold. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

interface Field {
  readonly default: Json;
  /** What the value must be, as the end of "must be …". */
  readonly expected: string;
  readonly accepts: (value: Json) => boolean;
}

const isString = (value: Json): boolean => typeof value === "string";
const isStringList = (value: Json): boolean => Array.isArray(value) && value.every(isString);
const isNumber = (value: Json): boolean => typeof value === "number" && Number.isFinite(value);
const isIndex = (value: Json): boolean => typeof value === "number" && Number.isInteger(value) && value >= 0;
const isPattern = (holds: (value: Json) => boolean) => (value: Json) =>
  typeof value === "object" && value !== null && !Array.isArray(value) && Object.values(value).every(holds);
const orNull = (accepts: (value: Json) => boolean) => (value: Json) => value === null || accepts(value);

const flag = (fallback: boolean): Field => ({
  default: fallback,
  expected: "true or false",
  accepts: (value) => typeof value === "boolean",
});
const text: Field = { default: null, expected: "a string or null", accepts: orNull(isString) };
const names: Field = {
  default: null,
  expected: "a list of strings, a string or null",
  accepts: orNull((value) => isString(value) || isStringList(value)),
};

/** Initialisations that only say where A and B started: an adapter trained from them loads like any other. */
const HARMLESS_INITIALISATIONS = ["gaussian", "orthogonal", "eva"];
/** Initialisations that also change the base weights, so that an adapter means nothing without them. */
const BASE_CHANGING_INITIALISATIONS = /^(olora|pissa.*|corda|loftq|lora_ga|mica)$/;

/** Fields that this package acts on, by their name in adapter_config.json. */
const IMPLEMENTED: ReadonlyMap<string, Field> = fieldMap({
  task_type: { ...text, default: "CAUSAL_LM" },
  base_model_name_or_path: text,
  revision: text,
  peft_version: { ...text, default: PEFT_VERSION },
  inference_mode: flag(false),
  r: {
    default: 8,
    expected: "a positive integer",
    accepts: (value) => isIndex(value) && value !== 0,
  },
  lora_alpha: { default: 8, expected: "a number", accepts: isNumber },
  lora_dropout: {
    default: 0,
    expected: "a number from 0 to 1",
    accepts: (value) => typeof value === "number" && value >= 0 && value <= 1,
  },
  target_modules: names,
  exclude_modules: names,
  modules_to_save: {
    default: null,
    expected: "a list of strings or null",
    accepts: orNull(isStringList),
  },
  target_parameters: {
    default: null,
    expected: "a list of strings or null",
    accepts: orNull(isStringList),
  },
  layers_to_transform: {
    default: null,
    expected: "a layer index, a list of layer indices or null",
    accepts: orNull((value) => isIndex(value) || (Array.isArray(value) && value.every(isIndex))),
  },
  layers_pattern: names,
  rank_pattern: {
    default: {},
    expected: "an object that maps module names to positive integers",
    accepts: orNull(isPattern((value) => isIndex(value) && value !== 0)),
  },
  alpha_pattern: {
    default: {},
    expected: "an object that maps module names to numbers",
    accepts: orNull(isPattern(isNumber)),
  },
  fan_in_fan_out: flag(false),
  use_rslora: flag(false),
  use_dora: flag(false),
  bias: {
    default: "none",
    expected: '"none", "all" or "lora_only"',
    accepts: (value) => value === "none" || value === "all" || value === "lora_only",
  },
  init_lora_weights: {
    default: true,
    expected: `true, false or one of ${HARMLESS_INITIALISATIONS.map((name) => `"${name}"`).join(", ")}`,
    accepts: (value) => typeof value === "boolean" || isString(value),
  },
});

/** Fields of PEFT that change the maths and are not implemented: any other value than the default is refused. */
const NOT_IMPLEMENTED: ReadonlyMap<string, Json> = fieldMap({
  alora_invocation_tokens: null,
  arrow_config: null,
  ensure_weight_tying: false,
  kasa_config: null,
  layer_replication: null,
  lora_bias: false,
  megatron_config: null,
  monteclora_config: null,
  trainable_token_indices: null,
  use_bdlora: null,
  use_qalora: false,
  velora_config: null,
});

/** Fields that say nothing by themselves: they belong to an option that is refused above, or to PEFT's own bookkeeping. */
const WITHOUT_EFFECT: ReadonlyMap<string, Json> = fieldMap({
  auto_mapping: null,
  corda_config: null,
  eva_config: null,
  loftq_config: {},
  lora_ga_config: null,
  megatron_core: "megatron.core",
  qalora_group_size: 16,
});

/** `lora_alpha` → `loraAlpha`: the one rule between names in files and names in TypeScript. */
export function camelCase(key: string): string {
  return key.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

/** Every known field but `peft_type`, in the order of its definition, with its default. */
export const FIELD_DEFAULTS: ReadonlyMap<string, Json> = new Map([
  ...[...IMPLEMENTED].map(([key, field]) => [key, field.default] as const),
  ...NOT_IMPLEMENTED,
  ...WITHOUT_EFFECT,
]);

/** Where the values of a configuration come from, for messages. */
export interface FieldSource {
  /** The name in the file format of a field as the user wrote it; unknown names stay as they are. */
  readonly keyOf: (written: string) => string;
  /** A field's name as the user writes it. */
  readonly spell: (key: string) => string;
  /** The place of a field: a file with a line, or the constructor. */
  readonly place: (key: string) => string;
}

export interface CheckedFields {
  /** A value for every known field, defaults filled in. */
  readonly values: ReadonlyMap<string, Json>;
  readonly warnings: readonly string[];
}

/**
 * Checks the fields of a LoRA configuration one by one and together.
 *
 * @param given values by their name in adapter_config.json
 * @throws AdapterConfigError naming the field, what was expected and what was found
 */
export function checkFields(given: ReadonlyMap<string, Json>, source: FieldSource): CheckedFields {
  const describe = (key: string): string => `${source.place(key)}: "${source.spell(key)}"`;
  const values = new Map(FIELD_DEFAULTS);
  const ignored: string[] = [];
  for (const [key, value] of given) {
    const field = IMPLEMENTED.get(key);
    const onlyValue = NOT_IMPLEMENTED.get(key);
    if (field !== undefined) {
      if (!field.accepts(value)) {
        throw new AdapterConfigError(`${describe(key)} must be ${field.expected}, found ${JSON.stringify(value)}.`);
      }
      values.set(key, value);
    } else if (onlyValue !== undefined) {
      refuseUnlessInert(key, value, onlyValue, describe);
      values.set(key, value);
    } else if (WITHOUT_EFFECT.has(key)) {
      values.set(key, value);
    } else {
      refuseUnknown(key, value, source);
      ignored.push(describe(key));
    }
  }
  checkTogether(values, describe);
  const warnings =
    ignored.length === 0 ? [] : [`ignored ${ignored.length} unknown key(s) without a value: ${ignored.join(", ")}`];
  return { values, warnings };
}

function refuseUnlessInert(key: string, value: Json, fallback: Json, describe: (key: string) => string): void {
  if (value !== fallback && !isInert(value)) {
    throw new AdapterConfigError(
      `${describe(key)} is ${JSON.stringify(value)}, which is not implemented: only ${JSON.stringify(fallback)} is.`,
    );
  }
}

function refuseUnknown(key: string, value: Json, source: FieldSource): void {
  // PEFT adds a field per variant, switched off by null or false: a newer file stays readable as long as none is in use.
  if (!isInert(value)) {
    throw new AdapterConfigError(
      `${source.place(key)}: "${key}" is not a field of a LoRA configuration and is set to ${JSON.stringify(value)}, ` +
        `so it may change what the adapter computes.${didYouMean(key, [...FIELD_DEFAULTS.keys()].map(source.spell))}`,
    );
  }
}

/** A value that switches a field off. */
function isInert(value: Json): boolean {
  return value === null || value === false || (typeof value === "object" && Object.keys(value).length === 0);
}

/** PEFT's rules between fields. */
function checkTogether(values: ReadonlyMap<string, Json>, describe: (key: string) => string): void {
  const byExpression = typeof values.get("target_modules") === "string";
  for (const key of ["layers_to_transform", "layers_pattern"]) {
    if (byExpression && values.get(key) !== null) {
      throw new AdapterConfigError(
        `${describe(key)} cannot be used when target_modules is a string: put the layers into the expression, ` +
          "or list the module names.",
      );
    }
  }
  const pattern = values.get("layers_pattern");
  if (pattern !== null && pattern !== "" && !isInert(pattern ?? null)) {
    if (values.get("layers_to_transform") === null) {
      throw new AdapterConfigError(`${describe("layers_pattern")} needs layers_to_transform.`);
    }
  }
  const initialisation = values.get("init_lora_weights");
  if (typeof initialisation === "string") {
    const name = initialisation.toLowerCase();
    if (BASE_CHANGING_INITIALISATIONS.test(name)) {
      throw new AdapterConfigError(
        `${describe("init_lora_weights")} is "${initialisation}", which also changes the base weights and is not implemented. ` +
          "PEFT can convert such an adapter to a plain one (save_pretrained with path_initial_model_for_weight_conversion).",
      );
    }
    if (!HARMLESS_INITIALISATIONS.includes(name)) {
      throw new AdapterConfigError(
        `${describe("init_lora_weights")} must be ${IMPLEMENTED.get("init_lora_weights")?.expected}, found "${initialisation}".`,
      );
    }
  }
}

// A map, because a file may hold any key: "constructor" is not a field.
function fieldMap<T>(fields: Readonly<Record<string, T>>): ReadonlyMap<string, T> {
  return new Map(Object.entries(fields));
}
