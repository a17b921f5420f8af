/**
 * Next fit in the given order, as functionary's `pack_data_points_by_length`: a sample joins the current group if the sum stays within
 * `capacity` and the group has fewer than `maxSize` members, else it begins a new one. Nothing is sorted, and a sample longer than the
 * capacity is a group of its own.
 *
 * @param lengths tokens of the samples
 * @param maxSize members of a group; −1: any number; 0 acts as 1
 * @returns sample numbers of every group
 */
export function nextFit(lengths: ArrayLike<number>, capacity: number, maxSize = -1): Int32Array[] {
  const groups: Int32Array[] = [];
  const close = (start: number, end: number): void => {
    if (end > start) groups.push(Int32Array.from({ length: end - start }, (_, i) => start + i));
  };
  let start = 0;
  let sum = 0;
  for (let sample = 0; sample < lengths.length; sample++) {
    const isFull = maxSize !== -1 && sample - start >= maxSize;
    if (sample > start && (isFull || sum + lengths[sample]! > capacity)) {
      close(start, sample);
      start = sample;
      sum = 0;
    }
    sum += lengths[sample]!;
  }
  close(start, lengths.length);
  return groups;
}
