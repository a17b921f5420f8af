import type { Communicator } from "../communicator.ts";
import { DatasetReport, type ReportCounts } from "./dataset-report.ts";
import { DatasetError } from "./errors.ts";
import { ROWS_AT_ONCE, type RowSamples, type SampleReader } from "./sample-reader.ts";
import type { Sample } from "./token-store.ts";

/** What a rank says of its share of a round beside the samples: the counts of all that it has read, or why it cannot read on. */
type Remark = { readonly counts: ReportCounts } | { readonly problem: string };

/** A rank's share of a round: rows one behind the other. */
interface Share {
  readonly rows: readonly (readonly Sample[])[];
  readonly remark: Remark;
}

/**
 * A reader for several ranks that want the tokens of the same rows, as each needs the lengths of all samples to deal them out: in every round a rank
 * makes the tokens of a share of the rows, and the shares are exchanged. A row is made into tokens once, on one rank, so its samples are the same
 * everywhere; the report counts the rows of all ranks.
 *
 * Reading is collective: every rank asks for the same rows in the same order. An error of one rank ends the reading of all.
 *
 * @param end rows of the data set
 */
export function shareReading(reader: SampleReader, end: number, communicator: Communicator): SampleReader {
  if (communicator.size === 1) return reader;
  const report = new DatasetReport(reader.report.limit);
  report.notes.push(...reader.report.notes);
  return {
    format: reader.format,
    report,
    async *read(from = 0, to = end) {
      const last = Math.min(to, end);
      for (let first = from; first < last;) {
        const share = Math.min(ROWS_AT_ONCE, Math.ceil((last - first) / communicator.size));
        const start = Math.min(first + share * communicator.rank, last);
        const own = await readShare(reader, start, Math.min(start + share, last));
        const shares = await exchange(own, communicator);
        report.become(shares.map(({ counts }) => counts));
        const rows = shares.flatMap((one) => one.rows);
        yield rows.map((samples, i): RowSamples => ({ row: first + i, samples }));
        first += rows.length;
      }
    },
  };
}

async function readShare(
  reader: SampleReader,
  first: number,
  end: number,
): Promise<Share & { readonly cause?: Error }> {
  const rows: (readonly Sample[])[] = [];
  try {
    if (first < end)
      for await (const block of reader.read(first, end)) rows.push(...block.map(({ samples }) => samples));
    return { rows, remark: { counts: reader.report.counts() } };
  } catch (error) {
    const cause = error instanceof Error ? error : new Error(String(error));
    return { rows: [], remark: { problem: cause.message }, cause };
  }
}

/** The shares of all ranks, in their order. Throws on every rank where one of them could not read. */
async function exchange(
  own: Share & { readonly cause?: Error },
  communicator: Communicator,
): Promise<{ readonly rows: Share["rows"]; readonly counts: ReportCounts }[]> {
  const { rank, size } = communicator;
  const message = packShare(own);
  const sizes = new Int32Array(size);
  sizes[rank] = message.length;
  await communicator.allReduce(sizes, "sum");
  // A sum with zeros in the places of the others gathers.
  const all = new Int32Array(sizes.reduce((sum, one) => sum + one, 0));
  all.set(
    message,
    sizes.subarray(0, rank).reduce((sum, one) => sum + one, 0),
  );
  await communicator.allReduce(all, "sum");
  const found: { readonly rows: Share["rows"]; readonly counts: ReportCounts }[] = [];
  let offset = 0;
  for (const [index, length] of sizes.entries()) {
    const { rows, remark } = unpackShare(all.subarray(offset, offset + length));
    offset += length;
    if ("problem" in remark) throw own.cause ?? new DatasetError(`rank ${index} cannot read on: ${remark.problem}`);
    found.push({ rows, counts: remark.counts });
  }
  return found;
}

/** Bytes of the remark, rows, samples of each row, tokens of each sample; then all ids, all labels, and the remark's UTF-8. */
function packShare({ rows, remark }: Share): Int32Array {
  const samples = rows.flat();
  const text = new TextEncoder().encode(JSON.stringify(remark));
  const tokens = samples.reduce((sum, { inputIds }) => sum + inputIds.length, 0);
  const head = [text.length, rows.length, ...rows.map(({ length }) => length)];
  for (const { inputIds } of samples) head.push(inputIds.length);
  const message = new Int32Array(head.length + 2 * tokens + text.length);
  message.set(head);
  let offset = head.length;
  for (const { inputIds, labels } of samples) {
    message.set(inputIds, offset);
    message.set(labels, offset + tokens);
    offset += inputIds.length;
  }
  message.set(text, offset + tokens);
  return message;
}

function unpackShare(message: Int32Array): Share {
  const bytes = message[0]!;
  const counts = message.subarray(2, 2 + message[1]!);
  const lengthsAt = 2 + counts.length;
  let offset = lengthsAt + counts.reduce((sum, count) => sum + count, 0);
  let sample = lengthsAt;
  const tokens = (message.length - bytes - offset) / 2;
  const rows = Array.from(counts, (count) =>
    Array.from({ length: count }, (): Sample => {
      const end = offset + message[sample++]!;
      // Copies: a view would keep the whole round in memory.
      const found = { inputIds: message.slice(offset, end), labels: message.slice(offset + tokens, end + tokens) };
      offset = end;
      return found;
    }),
  );
  const text = new TextDecoder().decode(Uint8Array.from(message.subarray(message.length - bytes)));
  return { rows, remark: JSON.parse(text) as Remark };
}
