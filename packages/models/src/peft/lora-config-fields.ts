import {
  checkFields,
  type CheckedFields,
  describeField,
  either,
  type Field,
  type FieldSource,
  type FieldTable,
  flag,
  isCount,
  isCountList,
  isNull,
  isNumber,
  isOff,
  isPositiveInteger,
  isRecordOf,
  isString,
  isStringList,
  type Json,
} from "../settings/field-table.ts";
import { AdapterConfigError } from "./errors.ts";

/** The version of PEFT whose adapter_config.json this package writes. */
export const PEFT_VERSION = "0.21.2";

const text: Field = {
  default: null,
  expected: "a string or null",
  accepts: either(isNull, isString),
};
const names: Field = {
  default: null,
  expected: "a list of strings, a string or null",
  accepts: either(isNull, isString, isStringList),
};
const list: Field = {
  default: null,
  expected: "a list of strings or null",
  accepts: either(isNull, isStringList),
};

/** Far beyond what has been of use: a larger number is a slip, and would only fill the memory. */
const LARGEST_RANK = 65_536;
const isRank = (value: Json): boolean => isPositiveInteger(value) && Number(value) <= LARGEST_RANK;

/** Initialisations that only say where A and B started: an adapter trained from them loads like any other. */
const HARMLESS_INITIALISATIONS = ["gaussian", "orthogonal", "eva"];
/** Initialisations that also change the base weights, so that an adapter means nothing without them. */
const BASE_CHANGING_INITIALISATIONS = /^(olora|pissa.*|corda|loftq|lora_ga|mica)$/;

/** The fields of PEFT's LoraConfig but `peft_type`, by their name in adapter_config.json. */
export const LORA_FIELDS: FieldTable = {
  owner: "a LoRA configuration",
  stake: "what the adapter computes",
  fail: (message) => new AdapterConfigError(message),
  implemented: new Map<string, Field>([
    ["task_type", { ...text, default: "CAUSAL_LM" }],
    ["base_model_name_or_path", text],
    ["revision", text],
    ["peft_version", { ...text, default: PEFT_VERSION }],
    ["inference_mode", flag(false)],
    ["r", { default: 8, expected: `a positive integer up to ${LARGEST_RANK}`, accepts: isRank }],
    ["lora_alpha", { default: 8, expected: "a number", accepts: isNumber }],
    [
      "lora_dropout",
      {
        default: 0,
        expected: "a number from 0 to 1",
        accepts: (value) => typeof value === "number" && value >= 0 && value <= 1,
      },
    ],
    ["target_modules", names],
    ["exclude_modules", names],
    ["modules_to_save", list],
    ["target_parameters", list],
    [
      "layers_to_transform",
      {
        default: null,
        expected: "a layer index, a list of layer indices or null",
        accepts: either(isNull, isCount, isCountList),
      },
    ],
    ["layers_pattern", names],
    [
      "rank_pattern",
      {
        default: {},
        expected: `an object that maps module names to positive integers up to ${LARGEST_RANK}`,
        accepts: either(isNull, isRecordOf(isRank)),
      },
    ],
    [
      "alpha_pattern",
      {
        default: {},
        expected: "an object that maps module names to numbers",
        accepts: either(isNull, isRecordOf(isNumber)),
      },
    ],
    ["fan_in_fan_out", flag(false)],
    ["ensure_weight_tying", flag(false)],
    ["use_rslora", flag(false)],
    ["use_dora", flag(false)],
    [
      "bias",
      {
        default: "none",
        expected: '"none", "all" or "lora_only"',
        accepts: (value) => value === "none" || value === "all" || value === "lora_only",
      },
    ],
    [
      "init_lora_weights",
      {
        default: true,
        expected: `true, false or one of ${HARMLESS_INITIALISATIONS.map((name) => `"${name}"`).join(", ")}`,
        accepts: (value) => typeof value === "boolean" || isString(value),
      },
    ],
  ]),
  notImplemented: new Map<string, Json>([
    ["alora_invocation_tokens", null],
    ["arrow_config", null],
    ["kasa_config", null],
    ["layer_replication", null],
    ["lora_bias", false],
    ["megatron_config", null],
    ["monteclora_config", null],
    ["trainable_token_indices", null],
    ["use_bdlora", null],
    ["use_qalora", false],
    ["velora_config", null],
  ]),
  // They belong to an option that is refused above, or to PEFT's own bookkeeping.
  withoutEffect: new Map<string, Json>([
    ["auto_mapping", null],
    ["corda_config", null],
    ["eva_config", null],
    ["loftq_config", {}],
    ["lora_ga_config", null],
    ["megatron_core", "megatron.core"],
    ["qalora_group_size", 16],
  ]),
};

/**
 * Checks the fields of a LoRA configuration one by one and together.
 * @throws AdapterConfigError naming the field, what was expected and what was found
 */
export function checkLoraFields(given: Iterable<readonly [string, unknown]>, source: FieldSource): CheckedFields {
  const checked = checkFields(LORA_FIELDS, given, source);
  checkLayers(checked.values, source);
  checkInitialisation(checked.values.get("init_lora_weights") ?? true, source);
  return checked;
}

function checkLayers(values: ReadonlyMap<string, Json>, source: FieldSource): void {
  for (const key of ["layers_to_transform", "layers_pattern"]) {
    if (typeof values.get("target_modules") === "string" && values.get(key) !== null) {
      throw new AdapterConfigError(
        `${describeField(source, key)} cannot be used when target_modules is a string: put the layers into the ` +
          "expression, or list the module names.",
      );
    }
  }
  const pattern = values.get("layers_pattern") ?? null;
  if (!isOff(pattern) && pattern !== "" && values.get("layers_to_transform") === null) {
    throw new AdapterConfigError(`${describeField(source, "layers_pattern")} needs layers_to_transform.`);
  }
}

function checkInitialisation(value: Json, source: FieldSource): void {
  if (typeof value !== "string") {
    return;
  }
  const described = describeField(source, "init_lora_weights");
  if (BASE_CHANGING_INITIALISATIONS.test(value.toLowerCase())) {
    throw new AdapterConfigError(
      `${described} is "${value}", which also changes the base weights and is not implemented. PEFT can convert such ` +
        "an adapter to a plain one (save_pretrained with path_initial_model_for_weight_conversion).",
    );
  }
  if (!HARMLESS_INITIALISATIONS.includes(value.toLowerCase())) {
    const expected = LORA_FIELDS.implemented.get("init_lora_weights")?.expected;
    throw new AdapterConfigError(`${described} must be ${expected}, found "${value}".`);
  }
}
