// Writes tokenizer.json and tokenizer_config.json of the demo's base model: a byte-level BPE of its own little world.
//
//   node scripts/demo/make-tokenizer.mjs --vocabulary 960 --out examples/tiny-world/model
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { byteAlphabet, trainMerges } from "./byte-pair-encoding.mjs";
import { makeCorpus } from "./make-corpus.mjs";
import { makeInstructions } from "./make-instructions.mjs";

const SPECIAL_TOKENS = ["<pad>", "<s>", "</s>"];

/** Plain words as role marks: the base model has never seen a chat, so special role tokens would be untrained rows. */
const CHAT_TEMPLATE = [
  "{{ bos_token }}",
  "{% for message in messages %}",
  "{% if message['role'] == 'user' %}{{ 'Question:\\n' + message['content'] + '\\nAnswer:\\n' }}",
  "{% elif message['role'] == 'assistant' %}{% generation %}{{ message['content'] + eos_token }}{% endgeneration %}{{ '\\n' }}",
  "{% else %}{{ raise_exception('this model knows the roles user and assistant, not ' + message['role']) }}{% endif %}",
  "{% endfor %}",
].join("");

/**
 * @param {string[]} texts
 * @param {number} vocabularySize special tokens, 256 bytes and merges together
 */
export function makeTokenizer(texts, vocabularySize) {
  const merges = trainMerges(texts, vocabularySize - SPECIAL_TOKENS.length - 256);
  const pieces = [...SPECIAL_TOKENS, ...byteAlphabet(), ...merges.map(([left, right]) => left + right)];
  const addedTokens = SPECIAL_TOKENS.map((content, id) => ({
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  }));
  return {
    tokenizer: {
      version: "1.0",
      truncation: null,
      padding: null,
      added_tokens: addedTokens,
      normalizer: null,
      pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
      post_processor: {
        type: "TemplateProcessing",
        single: [{ SpecialToken: { id: "<s>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
        pair: [
          { SpecialToken: { id: "<s>", type_id: 0 } },
          { Sequence: { id: "A", type_id: 0 } },
          { SpecialToken: { id: "<s>", type_id: 1 } },
          { Sequence: { id: "B", type_id: 1 } },
        ],
        special_tokens: { "<s>": { id: "<s>", ids: [1], tokens: ["<s>"] } },
      },
      decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
      model: {
        type: "BPE",
        dropout: null,
        unk_token: null,
        continuing_subword_prefix: null,
        end_of_word_suffix: null,
        fuse_unk: false,
        byte_fallback: false,
        ignore_merges: false,
        vocab: Object.fromEntries(pieces.map((piece, id) => [piece, id])),
        merges,
      },
    },
    configuration: {
      added_tokens_decoder: Object.fromEntries(addedTokens.map(({ id, ...token }) => [String(id), token])),
      bos_token: "<s>",
      eos_token: "</s>",
      pad_token: "<pad>",
      clean_up_tokenization_spaces: false,
      model_max_length: 256,
      tokenizer_class: "PreTrainedTokenizerFast",
      chat_template: CHAT_TEMPLATE,
    },
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({
    options: {
      vocabulary: { type: "string", default: "960" },
      out: { type: "string", default: "examples/tiny-world/model" },
    },
  });
  const { train } = makeInstructions(1);
  const chats = train.map(({ messages }) => `Question:\n${messages[0].content}\nAnswer:\n${messages[1].content}`);
  const { tokenizer, configuration } = makeTokenizer([...makeCorpus(4000, 2), ...chats], Number(values.vocabulary));
  mkdirSync(values.out, { recursive: true });
  writeFileSync(join(values.out, "tokenizer.json"), `${JSON.stringify(tokenizer)}\n`);
  writeFileSync(join(values.out, "tokenizer_config.json"), `${JSON.stringify(configuration, null, 2)}\n`);
  console.log(`${Object.keys(tokenizer.model.vocab).length} tokens written to ${values.out}`);
}
