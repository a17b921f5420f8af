import type { TokenizerDefinition } from "./definition/definition.ts";
import { flattened } from "./definition/components.ts";
import type { JsonObject } from "./definition/place.ts";

interface SpecialPiece {
  readonly token: string;
  readonly id: number;
}

/**
 * The post-processor that puts a beginning and an end token around each sequence, as Transformers' fast tokenizers build it when
 * `add_bos_token` or `add_eos_token` is given: it takes the place of the one in tokenizer.json.
 */
export function boundaryPostProcessor(bos: SpecialPiece | undefined, eos: SpecialPiece | undefined): JsonObject {
  const special = (piece: SpecialPiece | undefined, typeId: number): JsonObject[] =>
    piece === undefined ? [] : [{ SpecialToken: { id: piece.token, type_id: typeId } }];
  const sequence = (id: "A" | "B", typeId: number): JsonObject[] => [
    ...special(bos, typeId),
    { Sequence: { id, type_id: typeId } },
    ...special(eos, typeId),
  ];
  const tokens = [bos, eos].filter((piece) => piece !== undefined);
  return {
    type: "TemplateProcessing",
    single: sequence("A", 0),
    pair: [...sequence("A", 0), ...sequence("B", 1)],
    special_tokens: Object.fromEntries(
      tokens.map(({ token, id }) => [token, { id: token, ids: [id], tokens: [token] }]),
    ),
  };
}

function namesOf(pieces: readonly JsonObject[]): string[] {
  return pieces.map((piece) => String((piece["SpecialToken"] as JsonObject)["id"]));
}

/** Special tokens that the file's post-processor puts before and behind a single sequence. */
export function boundaryTokens(definition: TokenizerDefinition): {
  readonly before: readonly string[];
  readonly after: readonly string[];
} {
  for (const part of flattened(definition.postProcessor, "processors")) {
    const single = part["single"];
    if (part["type"] === "TemplateProcessing" && Array.isArray(single)) {
      const pieces: readonly JsonObject[] = single;
      const at = pieces.findIndex((piece) => "Sequence" in piece);
      return { before: namesOf(pieces.slice(0, at)), after: namesOf(pieces.slice(at + 1)) };
    }
    const [cls, sep] = [part["cls"], part["sep"]];
    if (Array.isArray(cls) && Array.isArray(sep)) {
      return { before: [String(cls[0])], after: [String(sep[0])] };
    }
  }
  return { before: [], after: [] };
}
