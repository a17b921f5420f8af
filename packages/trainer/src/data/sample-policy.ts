import type { DatasetReport, RowEvent } from "./dataset-report.ts";
import type { EncodedRow } from "./encode-text.ts";
import { DatasetError, type DataLocation } from "./errors.ts";
import { countTrainable } from "./masking.ts";
import type { Sample } from "./token-store.ts";

/** What becomes of samples that are longer than they may be. */
export type LongSamplePolicy = "error" | "truncate" | "split" | "drop";

export const longSamplePolicies: readonly LongSamplePolicy[] = ["error", "truncate", "split", "drop"];

/** How long a sample may be, what sets the limit, and what becomes of longer ones. */
export interface SampleLimit {
  readonly tokens: number;
  /** As users know it: `max_seq_length`. */
  readonly name: string;
  readonly longSamples: LongSamplePolicy;
}

/** What to do with samples that teach nothing. */
export interface SamplePolicyOptions {
  readonly emptySamples?: "drop" | "error" | undefined;
  readonly untrainableSamples?: "keep" | "drop" | "error" | undefined;
}

/** Decides about every row and counts. */
export class SamplePolicy {
  readonly #report: DatasetReport;
  readonly #limit: SampleLimit;
  readonly #empty: "drop" | "error";
  readonly #untrainable: "keep" | "drop" | "error";

  /** @throws DatasetError for a policy that there is not */
  constructor(report: DatasetReport, limit: SampleLimit, options: SamplePolicyOptions) {
    this.#report = report;
    this.#limit = limit;
    oneOf("long_samples", limit.longSamples, longSamplePolicies);
    this.#empty = oneOf("empty_samples", options.emptySamples ?? "drop", ["drop", "error"]);
    this.#untrainable = oneOf("untrainable_samples", options.untrainableSamples ?? "keep", ["keep", "drop", "error"]);
  }

  /** Whether rows are to be encoded without a limit. */
  get keepsWhole(): boolean {
    return this.#limit.longSamples === "split";
  }

  /** What row `index` becomes: one sample, several pieces of a long one, or none. */
  samplesOf(row: EncodedRow, index: number, where: DataLocation): readonly Sample[] {
    const report = this.#report;
    const { tokens: most, name, longSamples } = this.#limit;
    report.rows += 1;
    if (row.fullLength === 0) return this.#refuse(this.#empty, "empty", index, where, "no tokens");
    const cut = row.fullLength - row.inputIds.length;
    if (cut > 0 && longSamples !== "truncate" && longSamples !== "split") {
      const what = `longer than ${name}: ${row.fullLength} tokens, ${most} allowed`;
      return this.#refuse(longSamples, "long-dropped", index, where, what);
    }
    for (const key of row.missing) report.add(`${key}-missing`, index);
    const samples = longSamples === "split" ? splitSample(row, most) : [row];
    const trainable = samples.reduce((sum, { labels }) => sum + countTrainable(labels), 0);
    if (trainable === 0 && this.#untrainable !== "keep") {
      return this.#refuse(this.#untrainable, "untrainable-dropped", index, where, "no trainable token");
    }
    if (trainable === 0) report.add("untrainable", index);
    for (const remark of row.remarks) report.add(remark, index);
    if (cut > 0) report.add("truncated", index);
    if (samples.length > 1) report.add("split", index);
    report.truncatedTokens += cut;
    report.samples += samples.length;
    report.tokens += row.inputIds.length;
    report.longest = Math.max(report.longest, row.inputIds.length);
    report.trainableTokens += trainable;
    return samples;
  }

  #refuse(policy: "drop" | "error", event: RowEvent, index: number, where: DataLocation, what: string): readonly [] {
    if (policy === "error") throw new DatasetError(what, where);
    this.#report.add(event, index);
    return [];
  }
}

/** Pieces of `maxLength` tokens and what is left over; all of them keep their labels. */
function splitSample(row: EncodedRow, maxLength: number): Sample[] {
  const pieces: Sample[] = [];
  for (let start = 0; start < row.inputIds.length; start += maxLength) {
    const end = start + maxLength;
    pieces.push({ inputIds: row.inputIds.subarray(start, end), labels: row.labels.subarray(start, end) });
  }
  return pieces;
}

function oneOf<T extends string>(name: string, value: T, allowed: readonly T[]): T {
  if (allowed.includes(value)) return value;
  throw new DatasetError(`${name} is not usable`, {}, { expected: allowed.join(", "), found: JSON.stringify(value) });
}
