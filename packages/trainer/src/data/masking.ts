/** Label of a token that is not trained on. */
export const IGNORE_INDEX = -100;

/** Labels, and which of the keys looked for were not found: without its keys a row is masked as a whole. */
export interface MaskedLabels {
  /** One label a token: its id, or −100. */
  readonly labels: Int32Array;
  readonly missing: readonly ("response" | "instruction")[];
}

/** Where a key stands: [start, end) in tokens, or in characters of a text. */
export type KeySpan = readonly [start: number, end: number];

/**
 * Answers only: everything up to and including the last response key is −100 (TRL's `DataCollatorForCompletionOnlyLM` with a
 * response template). A row without the key is masked as a whole.
 *
 * @param inputIds token ids [n]; padding must be cut off, so that a real token with the id of padding keeps its label
 * @param responseIds token ids of the response key
 */
export function maskCompletion(inputIds: Int32Array, responseIds: ArrayLike<number>): MaskedLabels {
  const keys = findKeys(inputIds, responseIds);
  return keep(inputIds, answerOfCompletion(keys, inputIds.length), keys.length === 0 ? ["response"] : []);
}

/**
 * Answers of all turns: what stands between a response key and the next key is kept (TRL's `DataCollatorForCompletionOnlyLM` with
 * both templates). A row that lacks either key is masked as a whole. Other than TRL, which pairs the first instruction with the
 * first response and so on, two instructions in a row do not shift the pairs behind them.
 */
export function maskConversation(
  inputIds: Int32Array,
  instructionIds: ArrayLike<number>,
  responseIds: ArrayLike<number>,
): MaskedLabels {
  const instructions = findKeys(inputIds, instructionIds);
  const responses = findKeys(inputIds, responseIds);
  const missing: ("response" | "instruction")[] = [];
  if (responses.length === 0) missing.push("response");
  if (instructions.length === 0) missing.push("instruction");
  return keep(inputIds, answersOfConversation(instructions, responses, inputIds.length), missing);
}

/** The part behind the last key. */
export function answerOfCompletion(responses: readonly KeySpan[], length: number): KeySpan[] {
  const last = responses.at(-1);
  return last === undefined ? [] : [[last[1], length]];
}

/** The parts from each response key to the next key of either kind; none where one kind is missing. */
export function answersOfConversation(
  instructions: readonly KeySpan[],
  responses: readonly KeySpan[],
  length: number,
): KeySpan[] {
  if (instructions.length === 0 || responses.length === 0) return [];
  const starts = [...instructions, ...responses].map(([start]) => start).sort((a, b) => a - b);
  return responses.map(([, end]) => [end, starts.find((start) => start >= end) ?? length]);
}

/** Where the ids of a key stand, in order. A key of no ids stands nowhere. */
export function findKeys(inputIds: Int32Array, keyIds: ArrayLike<number>): KeySpan[] {
  const found: KeySpan[] = [];
  const first = keyIds[0];
  if (first === undefined) return found;
  for (let i = inputIds.indexOf(first); i !== -1; i = inputIds.indexOf(first, i + 1)) {
    let matched = 1;
    while (matched < keyIds.length && inputIds[i + matched] === keyIds[matched]) matched += 1;
    if (matched === keyIds.length) found.push([i, i + matched]);
  }
  return found;
}

/** Labels that are the ids within the spans and −100 elsewhere. */
export function keepSpans(inputIds: Int32Array, spans: readonly KeySpan[]): Int32Array {
  const labels = new Int32Array(inputIds.length).fill(IGNORE_INDEX);
  for (const [start, end] of spans) labels.set(inputIds.subarray(start, end), start);
  return labels;
}

/** Number of labels that count in the loss: the first one is never a target. */
export function countTrainable(labels: Int32Array): number {
  let count = 0;
  for (let i = 1; i < labels.length; i++) if (labels[i] !== IGNORE_INDEX) count += 1;
  return count;
}

function keep(inputIds: Int32Array, spans: readonly KeySpan[], missing: MaskedLabels["missing"]): MaskedLabels {
  return { labels: keepSpans(inputIds, spans), missing };
}
