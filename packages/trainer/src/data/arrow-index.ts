import { DatasetError, reasonOf } from "./errors.ts";
import type { FileBytes } from "./file-bytes.ts";
import { FlatbufferTable } from "./flatbuffer-table.ts";

/** A message of an Arrow stream: byte range of its frame, metadata and body. */
export interface ArrowMessage {
  readonly start: number;
  readonly end: number;
}

/** A record batch and the rows it holds. */
export interface ArrowBatch extends ArrowMessage {
  readonly rows: number;
}

/** Where the parts of an Arrow file are. */
export interface ArrowIndex {
  readonly schema: ArrowMessage;
  /** Dictionaries, in order; all of them are needed to read a batch behind them. */
  readonly dictionaries: readonly ArrowMessage[];
  readonly batches: readonly ArrowBatch[];
}

/** `ARROW1` and two bytes of padding stand before the stream in the file (Feather 2) format. */
const MAGIC = "ARROW1";
const CONTINUATION = 0xffffffff;
/** Above this a message header is damage: schemas of thousands of columns have some hundred kilobytes. */
const LARGEST_METADATA = 64 << 20;

/**
 * Finds the messages of an Arrow IPC stream or file in one pass over their headers; bodies are not read. A file is read as the
 * stream that it contains, its footer is not needed.
 */
export function indexArrowFile(file: FileBytes): ArrowIndex {
  const isFile = file.size >= 8 && new TextDecoder().decode(file.read(0, 6)) === MAGIC;
  let schema: ArrowMessage | undefined;
  const dictionaries: ArrowMessage[] = [];
  const batches: ArrowBatch[] = [];
  for (let position = isFile ? 8 : 0; position < file.size;) {
    const header = readHeader(file, position);
    if (header === undefined) break;
    const message = { start: position, end: header.end };
    if (header.kind === "schema") {
      if (schema !== undefined) throw damaged(file, "one schema", `another at byte ${position}`);
      schema = message;
    } else if (schema === undefined) {
      throw damaged(file, "a schema first", "another message");
    } else if (header.kind === "dictionary") {
      dictionaries.push(message);
    } else if (header.kind === "batch") {
      batches.push({ ...message, rows: header.rows });
    } else {
      throw damaged(file, "a schema, a dictionary or a record batch", `another message at byte ${position}`);
    }
    position = header.end;
  }
  if (schema === undefined) {
    throw new DatasetError("not an Arrow file", { file: file.path }, { expected: "an Arrow IPC stream or file" });
  }
  return { schema, dictionaries, batches };
}

/** A message's header, as far as it matters for an index. */
interface MessageHeader {
  readonly kind: "schema" | "dictionary" | "batch" | "other";
  /** Of a batch. */
  readonly rows: number;
  readonly compressed: boolean;
  readonly bodyLength: number;
}

/** Number of a message's kind, field numbers of its tables, and the size of a node and of a buffer (Arrow's Message.fbs). */
const KINDS = ["other", "schema", "dictionary", "batch"] as const;
const MESSAGE = { kind: 1, header: 2, bodyLength: 3 } as const;
const BATCH = { rows: 0, nodes: 1, buffers: 2, compression: 3 } as const;
const DICTIONARY = { data: 1 } as const;
const NODE_BYTES = 16;

function decodeHeader(bytes: Uint8Array): MessageHeader {
  const message = FlatbufferTable.root(bytes);
  const kind = KINDS[message.byte(MESSAGE.kind)] ?? "other";
  const header = message.table(MESSAGE.header);
  const batch = kind === "dictionary" ? header?.table(DICTIONARY.data) : header;
  const bodyLength = message.long(MESSAGE.bodyLength);
  if (batch === undefined || kind === "schema" || kind === "other")
    return { kind, rows: 0, compressed: false, bodyLength };
  // apache-arrow reads as many nodes and buffers as these lists say, whether they are there or not.
  batch.listLength(BATCH.nodes, NODE_BYTES);
  batch.listLength(BATCH.buffers, NODE_BYTES);
  return { kind, rows: batch.long(BATCH.rows), compressed: batch.table(BATCH.compression) !== undefined, bodyLength };
}

/** The message at `position`, or undefined at the end of the stream. */
function readHeader(file: FileBytes, position: number): (MessageHeader & { end: number }) | undefined {
  if (position + 8 > file.size) {
    // Streams may simply stop; a few bytes that are no header are damage.
    const rest = file.read(position, file.size);
    if (rest.every((byte) => byte === 0)) return undefined;
    throw damaged(file, "a message or the end", `${rest.length} bytes at the end`);
  }
  const frame = new DataView(file.read(position, position + 8).buffer);
  // Before format 0.15 there was no continuation mark: the length comes first.
  const modern = frame.getUint32(0, true) === CONTINUATION;
  const length = modern ? frame.getInt32(4, true) : frame.getInt32(0, true);
  if (length === 0) return undefined;
  const metadataStart = position + (modern ? 8 : 4);
  const bodyStart = metadataStart + length;
  if (length < 0 || length > LARGEST_METADATA || bodyStart > file.size) {
    throw damaged(file, "a message header within the file", `one of ${length} bytes at byte ${position}`);
  }
  let header: MessageHeader;
  try {
    header = decodeHeader(file.read(metadataStart, bodyStart));
  } catch (error) {
    throw new DatasetError(`damaged Arrow file (${reasonOf(error)})`, { file: file.path }, { cause: error });
  }
  if (header.compressed) {
    // apache-arrow brings no codec, and misreads the buffers that a writer left uncompressed among compressed ones.
    throw new DatasetError(
      "compressed Arrow buffers are not supported",
      { file: file.path },
      { hint: "write the file with compression=None, or as parquet" },
    );
  }
  const end = bodyStart + header.bodyLength;
  if (!Number.isSafeInteger(header.bodyLength) || header.bodyLength < 0 || end > file.size) {
    throw damaged(file, `a message that ends within the file's ${file.size} bytes`, `one that ends at ${end}`);
  }
  if (!Number.isSafeInteger(header.rows) || header.rows < 0)
    throw damaged(file, "a number of rows", String(header.rows));
  return { ...header, end };
}

function damaged(file: FileBytes, expected: string, found: string): DatasetError {
  return new DatasetError("damaged Arrow file", { file: file.path }, { expected, found });
}
