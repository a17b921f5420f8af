/**
 * A table of a FlatBuffer (https://flatbuffers.dev/internals), read with bounds: whatever points outside the bytes is a RangeError,
 * and absent fields have their default.
 */
export class FlatbufferTable {
  readonly #view: DataView;
  readonly #position: number;
  readonly #vtable: number;

  private constructor(view: DataView, position: number) {
    this.#view = view;
    this.#position = position;
    this.#vtable = position - view.getInt32(position, true);
  }

  /** The table that the bytes begin with. */
  static root(bytes: Uint8Array): FlatbufferTable {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    return new FlatbufferTable(view, view.getUint32(0, true));
  }

  byte(field: number): number {
    const at = this.#field(field);
    return at === undefined ? 0 : this.#view.getUint8(at);
  }

  /** A 64-bit integer as a number, rounded where it is above 2^53. */
  long(field: number): number {
    const at = this.#field(field);
    return at === undefined ? 0 : Number(this.#view.getBigInt64(at, true));
  }

  table(field: number): FlatbufferTable | undefined {
    const at = this.#field(field);
    return at === undefined ? undefined : new FlatbufferTable(this.#view, at + this.#view.getUint32(at, true));
  }

  /** Number of items of a list, all of which lie within the bytes. */
  listLength(field: number, itemBytes: number): number {
    const at = this.#field(field);
    if (at === undefined) return 0;
    const start = at + this.#view.getUint32(at, true);
    const length = this.#view.getUint32(start, true);
    if (start + 4 + length * itemBytes > this.#view.byteLength) throw new RangeError(`a list of ${length} items`);
    return length;
  }

  #field(field: number): number | undefined {
    const entry = 4 + 2 * field;
    if (entry + 2 > this.#view.getUint16(this.#vtable, true)) return undefined;
    const offset = this.#view.getUint16(this.#vtable + entry, true);
    return offset === 0 ? undefined : this.#position + offset;
  }
}
