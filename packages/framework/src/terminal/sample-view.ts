import type { Colors } from "../cli/terminal.ts";

/** One token of a training sample. */
export interface SampleToken {
  readonly id: number;
  /** What the token alone decodes to. */
  readonly text: string;
  /** Whether its label counts in the loss. */
  readonly trained: boolean;
}

/** A training sample as the model will see it. */
export interface SampleView {
  /** Position in the data set, from 0. */
  readonly index: number;
  /** File and line, or file and row. */
  readonly origin: string;
  readonly tokens: readonly SampleToken[];
  /** Runs of tokens with the same mask and the text they decode to together, in order. */
  readonly spans: readonly SampleSpan[];
}

export interface SampleSpan {
  readonly text: string;
  readonly trained: boolean;
}

/** Groups tokens into runs of equal mask. `decode` gets the ids of a whole run: some characters take several tokens. */
export function groupSpans(tokens: readonly SampleToken[], decode: (ids: number[]) => string): SampleSpan[] {
  const runs: { trained: boolean; ids: number[] }[] = [];
  for (const { id, trained } of tokens) {
    const run = runs.at(-1);
    if (run?.trained === trained) run.ids.push(id);
    else runs.push({ trained, ids: [id] });
  }
  return runs.map(({ trained, ids }) => ({ trained, text: decode(ids) }));
}

/**
 * A sample for people: its text, then its tokens. Trained parts are green and masked ones dim; without colours trained parts stand in
 * « ».
 *
 * @param mostTokens further tokens of a long sample are counted, not shown
 */
export function renderSample(sample: SampleView, colors: Colors, mostTokens = 400): string[] {
  const trained = sample.tokens.filter((token) => token.trained).length;
  const title = `sample ${sample.index} (${sample.origin}): ${sample.tokens.length} tokens, ${trained} trained`;
  const paint = (text: string, isTrained: boolean): string => {
    if (!colors.isColorSupported) return isTrained ? `«${text}»` : text;
    // Every line is painted on its own, so that a pager can start anywhere.
    const style = isTrained ? colors.green : colors.dim;
    return text
      .split("\n")
      .map((line) => (line === "" ? "" : style(line)))
      .join("\n");
  };
  const shown = sample.tokens.slice(0, mostTokens);
  const rest = sample.tokens.length - shown.length;
  const pieces = shown.map(({ text, trained: isTrained }) => paint(visible(text), isTrained)).join(" ");
  const warning = trained === 0 ? [colors.yellow("Nothing of this sample is trained.")] : [];
  return [
    colors.bold(title),
    ...warning,
    ...sample.spans
      .map((span) => paint(printable(span.text), span.trained))
      .join("")
      .split("\n")
      .map((line) => `  ${line}`),
    colors.bold("tokens"),
    `  ${pieces}${rest > 0 ? ` … and ${rest} more` : ""}`,
  ];
}

/** Blanks, line ends and unprintable characters as visible signs, so that tokens can be told apart. */
function visible(text: string): string {
  if (text === "") return "∅";
  return text
    .replaceAll(" ", "␣")
    .replaceAll("\n", "⏎")
    .replaceAll("\t", "⇥")
    .replaceAll(/\p{Cc}/gu, escapeCharacter);
}

/** Text whose control characters cannot move the cursor; line ends and tabs stay. */
export function printable(text: string): string {
  return text.replaceAll(/[^\P{Cc}\n\t]/gu, escapeCharacter);
}

function escapeCharacter(character: string): string {
  return `\\x${(character.codePointAt(0) ?? 0).toString(16).padStart(2, "0")}`;
}
