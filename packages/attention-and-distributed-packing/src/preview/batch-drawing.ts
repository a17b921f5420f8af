/** What the drawing needs of a terminal's colours (those of picocolors). */
export interface DrawingColors {
  readonly isColorSupported: boolean;
  dim(text: string): string;
  bold(text: string): string;
  red(text: string): string;
  green(text: string): string;
  yellow(text: string): string;
  blue(text: string): string;
  magenta(text: string): string;
  cyan(text: string): string;
}

/** A sample in a row: its letter, and its tokens. */
export interface DrawnSample {
  readonly letter: string;
  readonly tokens: number;
}

export interface DrawingOptions {
  /** Tokens of a character. */
  readonly scale: number;
  /** Characters of a line; a longer row goes on in the next one. */
  readonly columns: number;
  readonly colors: DrawingColors;
}

const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWYZabcdefghijklmnopqrstuvwyz";
/** X is padding. */
const PADDING = "X";

/** A letter for the n-th sample of a drawing; after all of them, from the start again. */
export function letterOf(sample: number): string {
  return LETTERS[sample % LETTERS.length]!;
}

/**
 * Rows of a batch as axolotl draws them: a letter for so many tokens of a sample, X for padding. Rows that are shorter than the longest are
 * padded to it.
 *
 * @param width tokens of a row; default: those of the longest
 */
export function drawBatch(
  rows: readonly (readonly DrawnSample[])[],
  options: DrawingOptions,
  width?: number,
): string[] {
  const tokens = rows.map((row) => row.reduce((sum, sample) => sum + sample.tokens, 0));
  const cells = Math.ceil((width ?? Math.max(0, ...tokens)) / options.scale);
  const lines = rows.flatMap((row) => {
    const letters = cellsOf(row, cells, options.scale);
    const parts: string[][] = [];
    for (let at = 0; at === 0 || at < letters.length; at += options.columns)
      parts.push(letters.slice(at, at + options.columns));
    return parts.map((part, index) => ({ part, isEnd: index === parts.length - 1 }));
  });
  return lines.map(({ part, isEnd }, index) => {
    const start = index === 0 ? "[[" : "  ";
    const end = index === lines.length - 1 ? " ]]" : isEnd ? " ]" : "";
    return `${start} ${part.map((letter) => paint(letter, options.colors)).join(" ")}${end}`;
  });
}

/** `0 1 2 … 9 0 1 …` above the characters of a line. */
export function drawScale(columns: number, colors: DrawingColors): string {
  return `   ${colors.dim(Array.from({ length: columns }, (_, at) => at % 10).join(" "))}`;
}

/** The letter that stands in the middle of each character's tokens; padding behind the last sample. */
function cellsOf(row: readonly DrawnSample[], cells: number, scale: number): string[] {
  const letters: string[] = [];
  let sample = 0;
  let end = row[0]?.tokens ?? 0;
  for (let cell = 0; cell < cells; cell++) {
    const middle = cell * scale + (scale - 1) / 2;
    while (sample < row.length && end <= middle) end += row[++sample]?.tokens ?? 0;
    letters.push(row[sample]?.letter ?? PADDING);
  }
  return letters;
}

const HUES = ["green", "yellow", "blue", "magenta", "cyan", "red"] as const;

function paint(letter: string, colors: DrawingColors): string {
  if (letter === PADDING) return colors.dim(letter);
  return colors[HUES[LETTERS.indexOf(letter) % HUES.length]!](letter);
}
