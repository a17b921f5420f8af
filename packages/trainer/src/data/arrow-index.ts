import { Message } from "apache-arrow";
import { DatasetError, reasonOf } from "./errors.ts";
import type { FileBytes } from "./file-bytes.ts";

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
    if (header.message.isSchema()) {
      if (schema !== undefined) throw damaged(file, "one schema", `another at byte ${position}`);
      schema = message;
    } else if (schema === undefined) {
      throw damaged(file, "a schema first", "another message");
    } else if (header.message.isDictionaryBatch()) {
      dictionaries.push(message);
    } else if (header.message.isRecordBatch()) {
      batches.push({ ...message, rows: rowsOfBatch(file, header.message.header()) });
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

/** The part of apache-arrow's record batch header that is used here. */
interface RecordBatchHeader {
  readonly length: number;
  readonly compression: object | null;
}

function rowsOfBatch(file: FileBytes, header: RecordBatchHeader): number {
  if (header.compression !== null) {
    // apache-arrow brings no codec, and misreads the buffers that a writer left uncompressed among compressed ones.
    throw new DatasetError(
      "compressed Arrow buffers are not supported",
      { file: file.path },
      { hint: "write the file with compression=None, or as parquet" },
    );
  }
  if (!Number.isSafeInteger(header.length) || header.length < 0) {
    throw damaged(file, "a number of rows", String(header.length));
  }
  return header.length;
}

/** The message at `position`, or undefined at the end of the stream. */
function readHeader(file: FileBytes, position: number): { message: Message; end: number } | undefined {
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
  let message: Message;
  try {
    message = Message.decode(file.read(metadataStart, bodyStart));
  } catch (error) {
    throw new DatasetError("cannot be read as Arrow", { file: file.path }, { found: reasonOf(error), cause: error });
  }
  const bodyLength = message.bodyLength;
  const end = bodyStart + bodyLength;
  if (!Number.isSafeInteger(bodyLength) || bodyLength < 0 || end > file.size) {
    throw damaged(file, `a message that ends within the file's ${file.size} bytes`, `one that ends at ${end}`);
  }
  return { message, end };
}

function damaged(file: FileBytes, expected: string, found: string): DatasetError {
  return new DatasetError("damaged Arrow file", { file: file.path }, { expected, found });
}
