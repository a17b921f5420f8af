/**
 * Reads how a model rotates by position from a configuration: `rope_parameters` as transformers 5 writes it, or `rope_theta`
 * with `rope_scaling` (whose kind is `rope_type`, once `type`) as transformers 4 did. Formulas: rope/.
 */
import { z } from "zod";

import { longropeAttentionFactor } from "../rope/longrope.ts";
import type { RopeParameters, RopeType } from "../rope/rope-parameters.ts";
import { yarnAttentionFactor } from "../rope/yarn.ts";
import { type ConfigSource, configError, parseWith, preview } from "./config-source.ts";
import { positive, size } from "./fields.ts";

/** The top-level keys of RoPE; `original_max_position_embeddings` stands beside or inside, by model. */
export const ropeFields: {
  readonly rope_theta: z.ZodOptional<z.ZodNullable<z.ZodNumber>>;
  readonly rope_scaling: z.ZodOptional<z.ZodType<Record<string, unknown> | null>>;
  readonly rope_parameters: z.ZodOptional<z.ZodType<Record<string, unknown> | null>>;
  readonly original_max_position_embeddings: z.ZodOptional<z.ZodNullable<z.ZodNumber>>;
} = {
  rope_theta: positive.nullable().optional(),
  rope_scaling: z.record(z.string(), z.unknown()).nullable().optional(),
  rope_parameters: z.record(z.string(), z.unknown()).nullable().optional(),
  original_max_position_embeddings: size.nullable().optional(),
};

type RopeKeys = { readonly [K in keyof typeof ropeFields]?: z.output<(typeof ropeFields)[K]> };

export interface RopeContext {
  readonly maxPositionEmbeddings: number;
  /** Dimensions of a head that are rotated. */
  readonly rotaryDim: number;
  /** What an architecture takes for `rope_theta` when the file, being older than the key, does not say. */
  readonly defaultTheta: number;
}

/** Keys that mean something only for one architecture's own reading (`partial_rotary_factor`) or nothing (`finetuned`). */
const SIDE_KEYS: readonly string[] = ["rope_type", "type", "rope_theta", "partial_rotary_factor", "finetuned"];

const attentionFactor = z.number().min(0).nullable().optional();
const factors = z.array(positive);

/** What each type reads besides `rope_theta`. */
const TYPE_FIELDS = {
  default: {},
  linear: { factor: positive },
  dynamic: { factor: positive },
  yarn: {
    factor: positive.nullable(),
    original_max_position_embeddings: size.optional(),
    attention_factor: attentionFactor,
    beta_fast: positive.nullable().optional(),
    beta_slow: positive.nullable().optional(),
    mscale: z.number().nullable().optional(),
    mscale_all_dim: z.number().nullable().optional(),
    truncate: z.boolean().optional(),
  },
  longrope: {
    short_factor: factors,
    long_factor: factors,
    original_max_position_embeddings: size.optional(),
    attention_factor: attentionFactor,
    factor: positive.nullable().optional(),
  },
  llama3: {
    factor: positive,
    low_freq_factor: positive,
    high_freq_factor: positive,
    original_max_position_embeddings: size.optional(),
  },
} as const satisfies Record<RopeType, z.ZodRawShape>;

/** Brings either form of the keys to `RopeParameters`. */
export function parseRope(source: ConfigSource, keys: RopeKeys, context: RopeContext): RopeParameters {
  const { section, values } = ropeSection(source, keys);
  const kind = ropeType(source, section, values);
  const ropeTheta = parseTheta(source, keys, section, values, context);
  const fields = TYPE_FIELDS[kind];
  const unknown = Object.keys(values).find(
    (key) => !(key in fields) && !SIDE_KEYS.includes(key) && !isInert(key, values),
  );
  if (unknown !== undefined) {
    throw configError(
      source,
      [section, unknown],
      `not a setting of rope type "${kind}" (it has ${["rope_theta", ...Object.keys(fields)].join(", ")})`,
    );
  }
  const length = keys.original_max_position_embeddings;
  if (length != null && length !== context.maxPositionEmbeddings && !("original_max_position_embeddings" in fields)) {
    source.onWarning(
      `${source.file}: original_max_position_embeddings (${length}) has no effect on rope type "${kind}".`,
    );
  }
  const fail = (key: string, problem: string): never => {
    throw configError(source, [section, key], problem);
  };
  /** Pretraining length: beside the section or inside it, or the model's whole length. */
  const originalLength = (inside: number | undefined): number => {
    const beside = keys.original_max_position_embeddings;
    if (beside != null && inside !== undefined && beside !== inside) {
      fail("original_max_position_embeddings", `contradicts the one beside ${section} (${beside}), found ${inside}`);
    }
    if (beside == null && inside === undefined) {
      source.onWarning(
        `${source.file}: ${section} of type "${kind}" has no original_max_position_embeddings: max_position_embeddings (${context.maxPositionEmbeddings}) is taken.`,
      );
    }
    return beside ?? inside ?? context.maxPositionEmbeddings;
  };

  switch (kind) {
    case "linear": {
      const { factor } = parseWith(source, z.object(TYPE_FIELDS.linear), values, [section]);
      return { ropeType: kind, ropeTheta, factor };
    }
    case "dynamic": {
      const { factor } = parseWith(source, z.object(TYPE_FIELDS.dynamic), values, [section]);
      if (context.rotaryDim <= 2) {
        fail("rope_type", `"dynamic" needs more than 2 rotary dimensions, found ${context.rotaryDim}`);
      }
      return { ropeType: kind, ropeTheta, factor, maxPositionEmbeddings: context.maxPositionEmbeddings };
    }
    case "yarn": {
      const yarn = parseWith(source, z.object(TYPE_FIELDS.yarn), values, [section]);
      const originalMaxPositionEmbeddings = originalLength(yarn.original_max_position_embeddings);
      const factor = yarn.factor ?? context.maxPositionEmbeddings / originalMaxPositionEmbeddings;
      const betaFast = yarn.beta_fast ?? 32;
      const betaSlow = yarn.beta_slow ?? 1;
      if (betaFast < betaSlow) {
        fail("beta_fast", `expected at least beta_slow (${betaSlow}), found ${betaFast}`);
      }
      if (ropeTheta <= 1) {
        fail("rope_theta", `expected more than 1 for type "yarn", found ${ropeTheta}`);
      }
      return {
        ropeType: kind,
        ropeTheta,
        factor,
        originalMaxPositionEmbeddings,
        betaFast,
        betaSlow,
        truncate: yarn.truncate ?? true,
        attentionFactor: yarn.attention_factor ?? yarnAttentionFactor(factor, yarn.mscale, yarn.mscale_all_dim),
      };
    }
    case "longrope": {
      const long = parseWith(source, z.object(TYPE_FIELDS.longrope), values, [section]);
      const originalMaxPositionEmbeddings = originalLength(long.original_max_position_embeddings);
      const count = context.rotaryDim / 2;
      for (const key of ["short_factor", "long_factor"] as const) {
        if (long[key].length !== count) {
          fail(key, `expected ${count} factors, one for each pair of rotary dimensions, found ${long[key].length}`);
        }
      }
      if (originalMaxPositionEmbeddings < 2) {
        fail("original_max_position_embeddings", `expected at least 2, found ${originalMaxPositionEmbeddings}`);
      }
      const factor = long.factor ?? context.maxPositionEmbeddings / originalMaxPositionEmbeddings;
      return {
        ropeType: kind,
        ropeTheta,
        shortFactor: long.short_factor,
        longFactor: long.long_factor,
        originalMaxPositionEmbeddings,
        attentionFactor: long.attention_factor ?? longropeAttentionFactor(factor, originalMaxPositionEmbeddings),
      };
    }
    case "llama3": {
      const llama3 = parseWith(source, z.object(TYPE_FIELDS.llama3), values, [section]);
      if (llama3.high_freq_factor <= llama3.low_freq_factor) {
        fail(
          "high_freq_factor",
          `expected more than low_freq_factor (${llama3.low_freq_factor}), found ${llama3.high_freq_factor}`,
        );
      }
      return {
        ropeType: kind,
        ropeTheta,
        factor: llama3.factor,
        lowFreqFactor: llama3.low_freq_factor,
        highFreqFactor: llama3.high_freq_factor,
        originalMaxPositionEmbeddings: originalLength(llama3.original_max_position_embeddings),
      };
    }
    default:
      return { ropeType: kind, ropeTheta };
  }
}

/** The section that says how to scale. Files with both forms must agree: which one counts differs between readers. */
function ropeSection(source: ConfigSource, keys: RopeKeys): { section: string; values: Record<string, unknown> } {
  const { rope_scaling: old, rope_parameters: current } = keys;
  if (old != null && current != null && JSON.stringify(sorted(old)) !== JSON.stringify(sorted(current))) {
    throw configError(
      source,
      ["rope_scaling"],
      `contradicts rope_parameters (${preview(current)}), found ${preview(old)}`,
    );
  }
  return old == null && current != null
    ? { section: "rope_parameters", values: current }
    : { section: "rope_scaling", values: old ?? {} };
}

function sorted(values: Record<string, unknown>): [string, unknown][] {
  return Object.entries(values).sort(([a], [b]) => (a < b ? -1 : 1));
}

function ropeType(source: ConfigSource, section: string, values: Record<string, unknown>): RopeType {
  const { rope_type: name, type: oldName } = values;
  if (name !== undefined && oldName !== undefined && name !== oldName) {
    throw configError(source, [section, "type"], `contradicts rope_type (${preview(name)}), found ${preview(oldName)}`);
  }
  const kind = name ?? oldName ?? "default";
  if (typeof kind !== "string" || !Object.hasOwn(TYPE_FIELDS, kind)) {
    const known = Object.keys(TYPE_FIELDS).join(", ");
    throw configError(
      source,
      [section, name === undefined ? "type" : "rope_type"],
      `expected one of ${known}, found ${preview(kind)}`,
    );
  }
  return kind as RopeType;
}

function parseTheta(
  source: ConfigSource,
  keys: RopeKeys,
  section: string,
  values: Record<string, unknown>,
  { defaultTheta }: RopeContext,
): number {
  const beside = keys.rope_theta;
  if (values["rope_theta"] == null) {
    if (beside == null) {
      source.onWarning(`${source.file}: rope_theta is not set: ${defaultTheta}, the architecture's own, is taken.`);
    }
    return beside ?? defaultTheta;
  }
  const { rope_theta: inside } = parseWith(source, z.object({ rope_theta: positive }), values, [section]);
  if (beside != null && beside !== inside) {
    throw configError(source, ["rope_theta"], `contradicts ${section}.rope_theta (${inside}), found ${beside}`);
  }
  return inside;
}

/** Optional settings that a writer spelled out as null. */
function isInert(key: string, values: Record<string, unknown>): boolean {
  return values[key] === null;
}
