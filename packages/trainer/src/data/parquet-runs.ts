/**
 * Checks a run-length and bit-packed stream (parquet's RLE hybrid): no run is longer than what is left, none reaches over the end.
 *
 * @param end byte behind the stream
 * @param width bits of a value, from 1
 * @param count values that are needed; the stream may end with less where `mayEndEarly`
 * @throws Error on a run that does not fit
 */
export function validateRuns(
  view: DataView,
  start: number,
  end: number,
  width: number,
  count: number,
  mayEndEarly = false,
): void {
  if (end > view.byteLength) throw new Error(`runs up to byte ${end} in a page of ${view.byteLength}`);
  let offset = start;
  let left = count;
  while (left > 0) {
    if (offset >= end) {
      if (mayEndEarly) return;
      throw new Error(`runs end with ${left} of ${count} values missing`);
    }
    let header = 0;
    for (let shift = 0; ; shift += 7) {
      if (offset >= end || shift > 28) throw new Error("a run without an end");
      const byte = view.getUint8(offset++);
      header += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) break;
    }
    const packed = header % 2 === 1;
    const length = packed ? ((header - 1) / 2) * 8 : header / 2;
    // Packed values come in eights, and writers round up to as many as 63 groups of eight.
    if (length === 0 || length > left + (packed ? 511 : 0))
      throw new Error(`a run of ${length} values where ${left} are left`);
    offset += packed ? (length * width) / 8 : Math.ceil(width / 8);
    if (offset > end && !packed) throw new Error("a run over the end");
    left -= length;
  }
}
