import type { DType } from "@fms-accel/tensor";

import type { RopeParameters } from "../rope/rope-parameters.ts";
import { type ConfigSource, configError, preview } from "./config-source.ts";

/** What every architecture's configuration tells, whatever its file calls it. */
export interface CausalLMConfig {
  /** `model_type` of the file, such as "llama". */
  readonly modelType: string;
  /** Class name in `architectures`, such as "LlamaForCausalLM". */
  readonly architecture: string;
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly numHiddenLayers: number;
  readonly numAttentionHeads: number;
  readonly numKeyValueHeads: number;
  readonly headDim: number;
  readonly maxPositionEmbeddings: number;
  readonly tieWordEmbeddings: boolean;
  readonly initializerRange: number;
  /** Row of the embedding that gets no gradient through the lookup (torch's `padding_idx`), if any; in [0, vocabSize). */
  readonly paddingIdx: number | undefined;
  readonly padTokenId: number | undefined;
  readonly bosTokenId: number | undefined;
  /** Any of them ends a generation. */
  readonly eosTokenIds: readonly number[];
  /** dtype that the file names for the weights. */
  readonly dtype: DType | undefined;
  readonly rope: RopeParameters | undefined;
  /** The file's own keys and values, as read: `savePretrained` writes them back. */
  readonly raw: Readonly<Record<string, unknown>>;
}

const WEIGHT_DTYPES: readonly DType[] = ["float32", "bfloat16", "float16"];

/** Whether weights of a model can have this dtype. */
export function isWeightDType(name: string): name is DType {
  return (WEIGHT_DTYPES as readonly string[]).includes(name);
}

/** What `commonFields` of an architecture's schema gives. */
interface CommonFields {
  readonly vocab_size: number;
  readonly initializer_range: number;
  readonly bos_token_id?: number | number[] | null | undefined;
  readonly eos_token_id?: number | number[] | null | undefined;
  readonly pad_token_id?: number | null | undefined;
  readonly dtype?: string | null | undefined;
  readonly torch_dtype?: string | null | undefined;
}

type CommonSettings = Pick<
  CausalLMConfig,
  "vocabSize" | "initializerRange" | "bosTokenId" | "eosTokenIds" | "padTokenId" | "dtype" | "raw"
>;

/** The settings that all architectures read alike. */
export function parseCommon(source: ConfigSource, fields: CommonFields): CommonSettings {
  return {
    vocabSize: fields.vocab_size,
    initializerRange: fields.initializer_range,
    ...parseTokenIds(source, fields),
    dtype: parseDType(source, fields),
    raw: source.json,
  };
}

/** dtype of the weights from `dtype` (transformers 5) or `torch_dtype` (transformers 4); "torch.bfloat16" is understood. */
function parseDType(source: ConfigSource, fields: CommonFields): DType | undefined {
  const key = fields.dtype == null ? "torch_dtype" : "dtype";
  const name = (fields.dtype ?? fields.torch_dtype)?.replace(/^torch\./, "");
  if (name === undefined || name === "auto") {
    return undefined;
  }
  if (!isWeightDType(name)) {
    throw configError(source, [key], `expected one of ${WEIGHT_DTYPES.join(", ")}, found ${preview(name)}`);
  }
  return name;
}

/**
 * The embedding row of `pad_token_id` as torch's `nn.Embedding(padding_idx=…)` takes it: a negative id counts from the end,
 * one beyond the vocabulary is an error.
 */
export function parsePaddingIdx(
  source: ConfigSource,
  padTokenId: number | null | undefined,
  vocabSize: number,
): number | undefined {
  if (padTokenId == null) {
    return undefined;
  }
  if (padTokenId < -vocabSize || padTokenId >= vocabSize) {
    throw configError(
      source,
      ["pad_token_id"],
      `expected an id of the vocabulary (0 to ${vocabSize - 1}), found ${padTokenId}`,
    );
  }
  return padTokenId < 0 ? padTokenId + vocabSize : padTokenId;
}

/** The special token ids; ids outside the vocabulary are left out with a warning, since published files have them. */
function parseTokenIds(
  source: ConfigSource,
  fields: CommonFields,
): Pick<CausalLMConfig, "bosTokenId" | "eosTokenIds" | "padTokenId"> {
  const within = (key: string, ids: number | number[] | null | undefined): number[] =>
    [ids ?? []].flat().filter((id) => {
      const valid = id >= 0 && id < fields.vocab_size;
      if (!valid) {
        source.onWarning(
          `${source.file}: ${key} ${id} is not in the vocabulary (0 to ${fields.vocab_size - 1}): not used.`,
        );
      }
      return valid;
    });
  return {
    bosTokenId: within("bos_token_id", fields.bos_token_id)[0],
    eosTokenIds: within("eos_token_id", fields.eos_token_id),
    padTokenId: within("pad_token_id", fields.pad_token_id)[0],
  };
}
