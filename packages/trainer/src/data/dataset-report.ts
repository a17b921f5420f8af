/** Rows of one kind: how many, and the first of them. */
export interface RowCount {
  readonly count: number;
  /** Row numbers in the dataset, from 0: at most eight. */
  readonly firstRows: readonly number[];
}

/** What can happen to a row. */
export type RowEvent =
  | "truncated"
  | "split"
  | "long-dropped"
  | "empty"
  | "untrainable"
  | "untrainable-dropped"
  | "response-missing"
  | "instruction-missing"
  | "eos-twice"
  | "bos-twice"
  | "padding-removed";

const FIRST_ROWS = 8;

/** In the order in which they are shown; LIMIT stands for what limits the length of a sample. */
const DESCRIPTIONS: Readonly<Record<RowEvent, string>> = {
  truncated: "longer than LIMIT: truncated",
  split: "longer than LIMIT: split into several samples",
  "long-dropped": "longer than LIMIT: dropped",
  empty: "without tokens: dropped",
  untrainable: "without a trainable token: kept, they add nothing to the loss",
  "untrainable-dropped": "without a trainable token: dropped",
  "response-missing": "in which response_template was not found: nothing of them is trained",
  "instruction-missing": "in which instruction_template was not found: nothing of them is trained",
  "eos-twice": "whose text already ended with the end-of-sequence token: a second one was appended",
  "bos-twice":
    "that begin with two beginning-of-sequence tokens: the text or template writes one, the tokenizer adds one",
  "padding-removed": "that came with padding: it was cut off",
};

/** The numbers of a report. */
export interface ReportCounts {
  readonly rows: number;
  readonly samples: number;
  readonly tokens: number;
  readonly longest: number;
  readonly trainableTokens: number;
  readonly truncatedTokens: number;
  readonly events: readonly (readonly [RowEvent, RowCount])[];
}

/** What became of a dataset's rows: nothing is dropped, cut or ignored without being counted here. */
export class DatasetReport {
  /** Rows read. */
  rows = 0;
  /** Samples kept. */
  samples = 0;
  /** Tokens of the samples kept, after truncation. */
  tokens = 0;
  /** Tokens of the longest sample kept. */
  longest = 0;
  /** Labels of the samples kept that count in the loss. */
  trainableTokens = 0;
  /** Tokens cut off from samples kept. */
  truncatedTokens = 0;
  /** Options without effect and similar. */
  readonly notes: string[] = [];
  /** What limits the length of a sample, as users know it. */
  readonly limit: string;
  readonly #events = new Map<RowEvent, { count: number; firstRows: number[] }>();

  /** @param limit what limits the length of a sample, as users know it */
  constructor(limit = "max_seq_length") {
    this.limit = limit;
  }

  /** Counts row `row` of the dataset. */
  add(event: RowEvent, row: number): void {
    const entry = this.#events.get(event) ?? { count: 0, firstRows: [] };
    this.#events.set(event, entry);
    entry.count += 1;
    if (entry.firstRows.length < FIRST_ROWS) entry.firstRows.push(row);
  }

  /** What was counted, for a process that adds up what several have read. */
  counts(): ReportCounts {
    const { rows, samples, tokens, longest, trainableTokens, truncatedTokens } = this;
    return { rows, samples, tokens, longest, trainableTokens, truncatedTokens, events: [...this.#events] };
  }

  /** Counts what several reports on different rows have counted, and nothing else. */
  become(parts: readonly ReportCounts[]): void {
    const sum = (count: (part: ReportCounts) => number): number => parts.reduce((total, one) => total + count(one), 0);
    this.rows = sum(({ rows }) => rows);
    this.samples = sum(({ samples }) => samples);
    this.tokens = sum(({ tokens }) => tokens);
    this.longest = Math.max(0, ...parts.map(({ longest }) => longest));
    this.trainableTokens = sum(({ trainableTokens }) => trainableTokens);
    this.truncatedTokens = sum(({ truncatedTokens }) => truncatedTokens);
    this.#events.clear();
    for (const [event, { count, firstRows }] of parts.flatMap(({ events }) => events)) {
      const before = this.count(event);
      const rows = [...before.firstRows, ...firstRows].sort((a, b) => a - b).slice(0, FIRST_ROWS);
      this.#events.set(event, { count: before.count + count, firstRows: rows });
    }
  }

  /** How many rows had the event. */
  count(event: RowEvent): RowCount {
    return this.#events.get(event) ?? { count: 0, firstRows: [] };
  }

  /** What a user should see, a line each: the sums, then everything that was counted. */
  lines(): string[] {
    const lines = [
      `${grouped(this.samples)} samples of ${grouped(this.rows)} rows, ${grouped(this.tokens)} tokens, ` +
        `${grouped(this.trainableTokens)} of them trained`,
    ];
    for (const [event, description] of Object.entries(DESCRIPTIONS) as [RowEvent, string][]) {
      const { count, firstRows } = this.count(event);
      if (count === 0) continue;
      const more = count > firstRows.length ? ", …" : "";
      const cut = event === "truncated" ? ` (${grouped(this.truncatedTokens)} tokens cut off)` : "";
      lines.push(
        `${grouped(count)} ${description.replace("LIMIT", this.limit)}${cut}; rows ${firstRows.join(", ")}${more}`,
      );
    }
    return [...lines, ...this.notes];
  }

  toString(): string {
    return this.lines().join("\n");
  }
}

/** `1,234,567` */
function grouped(value: number): string {
  return value.toLocaleString("en-US");
}
