/** Schemas of the values that configurations are made of. All keep to what JSON can say; NaN and infinities are refused. */
import { z } from "zod";

/** No published model is near it, and larger numbers are damage: sizes below it can be multiplied without overflow. */
const LARGEST_SIZE = 2 ** 31 - 1;

/** A size, such as `hidden_size`: a whole number from 1. */
export const size: z.ZodNumber = z.int().min(1).max(LARGEST_SIZE);

/** A number of layers. */
export const layerCount: z.ZodNumber = z.int().min(1).max(10_000);

export const positive: z.ZodNumber = z.number().gt(0);

/** A factor of activations. Beyond what float16 can hold it is damage, and nothing but infinities would come of it. */
export const multiplier: z.ZodNumber = z.number().min(0).max(65_504);

/** What caps scores or logits; also below what float16 can hold, and above what divides without overflow. */
export const cap: z.ZodNumber = z.number().min(1e-4).max(65_504);

/** Probability of dropping a value. */
export const dropoutRate: z.ZodNumber = z.number().min(0).lt(1);

/** A token id or null. Ids outside the vocabulary occur in published files (-1 for "none"), so only the type is checked. */
export const tokenId: z.ZodNullable<z.ZodNumber> = z.int().nullable();

/** One id, several, or none. */
export const tokenIds: z.ZodType<number | number[] | null> = z
  .union([z.int(), z.array(z.int())], { error: "expected a token id or a list of token ids" })
  .nullable();

/** A key that may be left out. */
type Optional<T> = z.ZodOptional<z.ZodType<T>>;

/** Keys that every architecture reads. */
export const commonFields: {
  readonly vocab_size: z.ZodNumber;
  readonly initializer_range: z.ZodDefault<z.ZodNumber>;
  readonly tie_word_embeddings: Optional<boolean>;
  readonly bos_token_id: Optional<number | number[] | null>;
  readonly eos_token_id: Optional<number | number[] | null>;
  readonly pad_token_id: Optional<number | null>;
  readonly dtype: Optional<string | null>;
  readonly torch_dtype: Optional<string | null>;
} = {
  vocab_size: size,
  initializer_range: z.number().min(0).max(1).default(0.02),
  tie_word_embeddings: z.boolean().optional(),
  bos_token_id: tokenIds.optional(),
  eos_token_id: tokenIds.optional(),
  pad_token_id: tokenId.optional(),
  dtype: z.string().nullable().optional(),
  torch_dtype: z.string().nullable().optional(),
};
