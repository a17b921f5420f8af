const WITHOUT_INPUT =
  "Below is an instruction that describes a task. Write a response that appropriately completes the request.";
const WITH_INPUT =
  "Below is an instruction that describes a task, paired with an input that provides further context. " +
  "Write a response that appropriately completes the request.";

/**
 * The prompt of a row with `instruction`, `input` and `output`, as Stanford Alpaca wrote it and fms-hf-tuning's
 * `alpaca_to_sft_format.py` does: up to and including `### Response:`. The answer follows behind a space.
 *
 * @param input empty where the instruction says it all
 */
export function alpacaPrompt(instruction: string, input: string): string {
  return input === ""
    ? `${WITHOUT_INPUT}\n\n### Instruction:\n${instruction}\n\n### Response:`
    : `${WITH_INPUT}\n\n### Instruction:\n${instruction}\n\n### Input:\n${input}\n\n### Response:`;
}

/** Question and answer as one text: with a space between them unless one of them has white space there. */
export function joinPair(input: string, output: string): string {
  return needsSpace(input, output) ? `${input} ${output}` : input + output;
}

function needsSpace(input: string, output: string): boolean {
  return !/[ \n\t]$/.test(input) && !/^[ \n\t]/.test(output);
}
