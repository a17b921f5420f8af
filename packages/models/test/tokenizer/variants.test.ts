import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fixturePath, readJsonFixture, temporaryDirectory } from "@fms-accel/test-utilities";
import { describe, expect, it } from "vitest";
import {
  AutoTokenizer,
  ChatTemplateError,
  type AddedToken,
  type PreTrainedTokenizer,
  type SpecialTokenName,
  type TokenizerLoadOptions,
} from "../../src/tokenizer/index.ts";

/** A folder of the fixtures with some files replaced (as text or JSON) or removed (null). */
interface Folder {
  readonly name: string;
  readonly base: string;
  readonly files: Record<string, unknown>;
}

interface TokenizerCase extends Folder {
  readonly load: { readonly add_bos_token?: boolean; readonly add_eos_token?: boolean };
  readonly ops: [string, unknown][];
  readonly added?: number[];
  /** Saving and loading gives the same tokenizer in Transformers. */
  readonly saved_same: boolean;
  readonly state: {
    readonly length: number;
    readonly vocab_size: number;
    readonly special_tokens_map: Record<string, string>;
    readonly extra: string[];
    readonly all_special_ids: number[];
    readonly pad_token_id: number | null;
    readonly eos_token_id: number | null;
    readonly bos_token_id: number | null;
    readonly unk_token_id: number | null;
    readonly padding_side: string;
    readonly truncation_side: string;
    readonly model_max_length: number | null;
  };
  readonly encodings: {
    readonly text: string;
    readonly special: boolean;
    readonly ids: number[];
    readonly offsets: [number, number][];
    readonly special_tokens_mask: number[];
    readonly decoded: string;
    readonly decoded_skip: string;
  }[];
  readonly pair: {
    readonly ids: number[];
    readonly special_tokens_mask: number[];
    readonly type_ids: number[];
    readonly plain: number[];
  };
  readonly truncations?: {
    readonly side: "left" | "right";
    readonly max_length: number;
    readonly text: string;
    readonly ids: number[];
  }[];
}

interface TemplateCase extends Folder {
  readonly messages: Record<string, unknown>[];
  readonly kwargs: Record<string, unknown>;
  readonly text?: string;
  readonly error?: { readonly type: string; readonly message: string };
}

const { cases, templates } = readJsonFixture<{ cases: TokenizerCase[]; templates: TemplateCase[] }>(
  "tokenizers",
  "variants.json",
);

const root = temporaryDirectory();
let folders = 0;

function newFolder(): string {
  const directory = join(root, String(folders++));
  mkdirSync(directory);
  return directory;
}

function folderOf(folder: Folder): string {
  const directory = newFolder();
  for (const name of ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"]) {
    const source = fixturePath("tokenizers", folder.base, name);
    if (existsSync(source) && !(name in folder.files)) {
      writeFileSync(join(directory, name), readFileSync(source));
    }
  }
  for (const [name, content] of Object.entries(folder.files)) {
    if (content !== null) {
      mkdirSync(dirname(join(directory, name)), { recursive: true });
      writeFileSync(join(directory, name), typeof content === "string" ? content : JSON.stringify(content));
    }
  }
  return directory;
}

interface WrittenToken {
  readonly content: string;
  readonly lstrip?: boolean;
  readonly rstrip?: boolean;
  readonly single_word?: boolean;
  readonly normalized?: boolean;
}

function tokenOf(token: string | WrittenToken): string | (Partial<AddedToken> & { content: string }) {
  if (typeof token === "string") {
    return token;
  }
  const { single_word: singleWord = false, ...rest } = token;
  return { ...rest, singleWord };
}

/** What the case does after loading; returns how many tokens each step added. */
function operate(tokenizer: PreTrainedTokenizer, ops: readonly [string, unknown][]): number[] {
  const added: number[] = [];
  for (const [operation, argument] of ops) {
    if (operation === "add_special_tokens") {
      added.push(tokenizer.addSpecialTokens(argument as Partial<Record<SpecialTokenName, string>>));
    } else if (operation === "add_tokens") {
      added.push(tokenizer.addTokens((argument as (string | WrittenToken)[]).map(tokenOf)));
    } else {
      const [, token] = argument as [string, string];
      tokenizer.padToken = token;
    }
  }
  return added;
}

async function expectBehaviour(tokenizer: PreTrainedTokenizer, expected: TokenizerCase): Promise<void> {
  const { state } = expected;
  expect({
    length: tokenizer.length,
    vocab_size: tokenizer.vocabSize,
    special_tokens_map: Object.fromEntries(tokenizer.specialTokensMap),
    extra: tokenizer.additionalSpecialTokens,
    all_special_ids: tokenizer.allSpecialIds,
    pad_token_id: tokenizer.padTokenId ?? null,
    eos_token_id: tokenizer.eosTokenId ?? null,
    bos_token_id: tokenizer.bosTokenId ?? null,
    unk_token_id: tokenizer.unkTokenId ?? null,
    padding_side: tokenizer.paddingSide,
    truncation_side: tokenizer.truncationSide,
    model_max_length: Number.isFinite(tokenizer.modelMaxLength) ? tokenizer.modelMaxLength : null,
  }).toEqual(state);
  for (const each of expected.encodings) {
    const encoding = await tokenizer.encode(each.text, { addSpecialTokens: each.special });
    expect({
      text: each.text,
      special: each.special,
      ids: encoding.ids,
      offsets: encoding.offsets,
      special_tokens_mask: encoding.specialTokensMask,
      decoded: tokenizer.decode(encoding.ids),
      decoded_skip: tokenizer.decode(encoding.ids, { skipSpecialTokens: true }),
    }).toEqual(each);
  }
  const pair = await tokenizer.encode("a b", { pair: "c d" });
  const plain = await tokenizer.encode("a", { pair: "b", addSpecialTokens: false });
  expect({
    ids: pair.ids,
    special_tokens_mask: pair.specialTokensMask,
    type_ids: pair.typeIds,
    plain: plain.ids,
  }).toEqual(expected.pair);
}

function loadOptions(expected: TokenizerCase): TokenizerLoadOptions {
  const { add_bos_token: addBosToken, add_eos_token: addEosToken } = expected.load;
  return {
    ...(addBosToken === undefined ? {} : { addBosToken }),
    ...(addEosToken === undefined ? {} : { addEosToken }),
  };
}

describe("tokenizers as Transformers loads and changes them", () => {
  it.each(cases.map((each): [string, TokenizerCase] => [each.name, each]))("%s", async (_, expected) => {
    const tokenizer = await AutoTokenizer.fromPretrained(folderOf(expected), loadOptions(expected));
    expect(operate(tokenizer, expected.ops)).toEqual(expected.added ?? []);
    await expectBehaviour(tokenizer, expected);
    for (const { side, max_length: maxLength, text, ids } of expected.truncations ?? []) {
      const sides = await AutoTokenizer.fromPretrained(folderOf(expected), {
        ...loadOptions(expected),
        truncationSide: side,
      });
      operate(sides, expected.ops);
      await expect(
        sides.encode(text, { truncation: true, maxLength }).then((encoding) => encoding.ids),
      ).resolves.toEqual(ids);
    }
  });

  // Where saving and loading changes a tokenizer in Transformers, too, there is nothing to compare with.
  const stable = cases.filter((each) => each.saved_same);

  it.each(stable.map((each): [string, TokenizerCase] => [each.name, each]))(
    "%s, saved and loaded",
    async (_, expected) => {
      const tokenizer = await AutoTokenizer.fromPretrained(folderOf(expected), loadOptions(expected));
      operate(tokenizer, expected.ops);
      const directory = newFolder();
      await tokenizer.savePretrained(directory);
      await expectBehaviour(await AutoTokenizer.fromPretrained(directory), expected);
    },
  );
});

describe("chat templates as Transformers chooses and renders them", () => {
  it.each(templates.map((each): [string, TemplateCase] => [each.name, each]))("%s", async (_, expected) => {
    const tokenizer = await AutoTokenizer.fromPretrained(folderOf(expected));
    const { add_generation_prompt, continue_final_message, tools, documents, chat_template, ...templateKwargs } =
      expected.kwargs;
    const render = (): string =>
      tokenizer.renderChatTemplate(expected.messages, {
        addGenerationPrompt: add_generation_prompt === true,
        continueFinalMessage: (continue_final_message ?? false) as boolean | string,
        tools: tools as Record<string, unknown>[] | undefined,
        documents: documents as Record<string, unknown>[] | undefined,
        chatTemplate: chat_template as string | undefined,
        templateKwargs,
      }).text;
    if (expected.error === undefined) {
      expect(render()).toBe(expected.text);
      return;
    }
    let error: unknown;
    try {
      render();
    } catch (caught) {
      error = caught;
    }
    expect(error).toBeInstanceOf(ChatTemplateError);
    expect(error).toMatchObject({ type: expected.error.type, detail: expected.error.message });
  });
});
