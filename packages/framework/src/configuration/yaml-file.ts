import { isUtf8 } from "node:buffer";
import { readFileSync } from "node:fs";
import { isAlias, isMap, isScalar, isSeq, LineCounter, parseDocument, type Document, type Node } from "yaml";
import { ConfigurationError } from "../errors.ts";
import type { ConfigurationNode, MappingEntry, ScalarNode } from "./configuration-node.ts";

/** Deeper or larger than any configuration is: aliases can make a small file endless. */
const MAX_DEPTH = 64;
const MAX_NODES = 100_000;

/**
 * Reads a YAML file, with where each value stands.
 *
 * @returns `undefined` when the file is empty
 * @throws ConfigurationError naming the file and, for everything inside it, line and column
 */
export function readYamlFile(file: string): ConfigurationNode | undefined {
  return parseYaml(decodeText(readBytes(file), file), file);
}

/** As `readYamlFile`, of a text; `file` is its name in errors. */
export function parseYaml(text: string, file: string): ConfigurationNode | undefined {
  const lines = new LineCounter();
  const at = (offset: number): string => {
    const { line, col } = lines.linePos(offset);
    return `${file}:${Math.max(line, 1)}:${Math.max(col, 1)}`;
  };
  const document = parseSafely(text, lines, file);
  const fault = document.errors[0] ?? document.warnings[0];
  if (fault !== undefined) throw new ConfigurationError(`${at(fault.pos[0])}: ${fault.message}`);
  const { contents } = document;
  return contents === null ? undefined : new NodeReader(document, at).read(contents, 0);
}

function readBytes(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new ConfigurationError(`${file}: the configuration file cannot be read: ${reason}`, { cause: error });
  }
}

/** The text of a file's bytes. @throws ConfigurationError with the place of a byte that belongs to no character */
export function decodeText(bytes: Buffer, file: string): string {
  if (isUtf8(bytes)) return new TextDecoder().decode(bytes);
  throw new ConfigurationError(`${file}:${placeOfWrongByte(bytes)}: this is not UTF-8 text.`);
}

/** Line and column of the first byte that belongs to no character. */
function placeOfWrongByte(bytes: Buffer): string {
  let start = 0;
  for (let line = 1; ; line++) {
    const newline = bytes.indexOf("\n", start);
    const end = newline === -1 ? bytes.length : newline;
    if (!isUtf8(bytes.subarray(start, end))) {
      let column = 1;
      let at = start;
      // A decoder that stops at nothing puts U+FFFD in its place, which the text may also have of its own.
      for (const character of bytes.toString("utf8", start, end)) {
        const length = Buffer.byteLength(character);
        if (bytes.toString("latin1", at, at + length) !== Buffer.from(character).toString("latin1")) break;
        at += length;
        column += character.length;
      }
      return `${line}:${column}`;
    }
    start = end + 1;
  }
}

/** The parser goes as deep as the text does. */
function parseSafely(text: string, lineCounter: LineCounter, file: string): Document.Parsed {
  try {
    return parseDocument(text, { lineCounter, prettyErrors: false });
  } catch (error) {
    const reason = error instanceof RangeError ? "it is nested too deeply" : (error as Error).message;
    throw new ConfigurationError(`${file}:1:1: this cannot be read as YAML: ${reason}.`, { cause: error });
  }
}

class NodeReader {
  readonly #document: Document;
  readonly #at: (offset: number) => string;
  #count = 0;

  constructor(document: Document, at: (offset: number) => string) {
    this.#document = document;
    this.#at = at;
  }

  read(node: Node, depth: number): ConfigurationNode {
    const where = this.#at(node.range?.[0] ?? 0);
    if (depth > MAX_DEPTH || ++this.#count > MAX_NODES)
      throw new ConfigurationError(`${where}: this is nested too deeply, or aliases repeat it too often.`);
    if (isAlias(node)) {
      const target = node.resolve(this.#document);
      if (target === undefined) throw new ConfigurationError(`${where}: there is no anchor "${node.source}".`);
      return this.read(target, depth + 1);
    }
    if (isSeq(node)) {
      return { kind: "list", where, items: node.items.map((item) => this.#readChild(item, where, depth)) };
    }
    if (isMap(node)) {
      const entries = new Map<string, MappingEntry>();
      for (const { key, value } of node.items) this.#addEntry(entries, key as Node, value as Node | null, depth);
      return { kind: "mapping", where, entries };
    }
    const value: unknown = isScalar(node) ? node.value : null;
    return { kind: "scalar", where, value: isPlain(value) ? value : JSON.stringify(value) };
  }

  #readChild(node: unknown, where: string, depth: number): ConfigurationNode {
    return node === null || node === undefined
      ? { kind: "scalar", where, value: null }
      : this.read(node as Node, depth + 1);
  }

  #addEntry(entries: Map<string, MappingEntry>, key: Node, value: Node | null, depth: number): void {
    const keyWhere = this.#at(key?.range?.[0] ?? 0);
    const named = isAlias(key) ? key.resolve(this.#document) : key;
    if (!isScalar(named)) throw new ConfigurationError(`${keyWhere}: expected the name of a key, found a collection.`);
    const name = String(named.value);
    // The parser sees keys of one text only: 1 and "1", or an alias of a key, are the same name too.
    if (entries.has(name)) throw new ConfigurationError(`${keyWhere}: the key "${name}" is given twice.`);
    entries.set(name, { keyWhere, node: this.#readChild(value, keyWhere, depth) });
  }
}

function isPlain(value: unknown): value is ScalarNode["value"] {
  return value === null || ["string", "number", "bigint", "boolean"].includes(typeof value);
}
