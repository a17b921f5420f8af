#include "ops/work_items.h"

#include <algorithm>

namespace fms_accel::ops {
namespace {

int64_t round_up(int64_t x, int64_t to) { return (x + to - 1) / to * to; }

// Tokens that the token at `position` of a sequence sees.
int64_t visible(const Attention& a, int64_t length, int64_t position) {
  const int64_t reach = a.window > 0 ? std::min(a.window, length) : length;
  const int64_t before = std::min(position + 1, reach);
  return a.is_causal ? before : before + std::min(length - position - 1, reach - 1);
}

// Pairs of rows and keys, by the row in the middle.
double pairs(const Attention& a, int64_t length, int64_t first_row, int64_t rows) {
  const int64_t group = a.heads / a.kv_heads;
  return static_cast<double>(rows) *
         static_cast<double>(visible(a, length, (first_row + rows / 2) / group));
}

// What packing one key costs, in pairs; measured at head dimensions 64 and 128.
constexpr double kPackingCost = 40;

double cost_of(const Attention& a, const QueryRange& range) {
  const int64_t group = a.heads / a.kv_heads, length = range.sequence.length;
  const int64_t last = (range.first_row + range.rows - 1) / group;
  const double keys = static_cast<double>(visible(a, length, last) + range.rows / group);
  return pairs(a, length, range.first_row, range.rows) +
         kPackingCost * std::min(keys, static_cast<double>(length));
}

std::vector<QueryRange> ranges_of(const std::vector<Sequence>& sequences, const Attention& a,
                                  int64_t rows) {
  std::vector<std::pair<double, QueryRange>> sorted;
  for (const Sequence& sequence : sequences) {
    const int64_t all = sequence.length * (a.heads / a.kv_heads);
    for (int64_t row = 0; row < all; row += rows) {
      const QueryRange range{sequence, row, std::min(rows, all - row)};
      sorted.push_back({cost_of(a, range), range});
    }
  }
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const auto& x, const auto& y) { return x.first > y.first; });
  std::vector<QueryRange> ranges;
  for (const auto& [cost, range] : sorted) ranges.push_back(range);
  return ranges;
}

// What packing the query rows once more costs a row, in pairs of backward.
constexpr double kRowPackingCost = 16;

double cost_of(const Attention& a, const KeyRange& range) {
  const int64_t length = range.sequence.length, first = range.chunk * range.chunk_keys,
                keys = std::min(range.chunk_keys, length - first);
  // A key is seen by as many tokens as the mirrored token sees.
  const auto seen_by = [&](int64_t key) {
    return static_cast<double>(visible(a, length, length - 1 - key));
  };
  const double group = static_cast<double>(a.heads / a.kv_heads);
  return group *
         (static_cast<double>(keys) * seen_by(first + keys / 2) + kRowPackingCost * seen_by(first));
}

KeyRanges ranges_of_keys(const std::vector<Sequence>& sequences, const Attention& a,
                         const AttentionKernels& kernels, int64_t keys) {
  constexpr int64_t kMostChunks = 8;
  KeyRanges result;
  std::vector<std::pair<std::pair<int64_t, double>, KeyRange>> sorted;
  for (const Sequence& sequence : sequences) {
    const int64_t length = sequence.length, group = a.heads / a.kv_heads;
    const int64_t share = std::max(keys, (length + kMostChunks - 1) / kMostChunks);
    const int64_t row_blocks = (length * group + kernels.row_block - 1) / kernels.row_block;
    KeyRange range{sequence, 0, round_up(share, kernels.key_granularity), result.turns, row_blocks};
    for (; range.chunk * range.chunk_keys < length; ++range.chunk) {
      sorted.push_back({{range.chunk, -cost_of(a, range)}, range});
      const int64_t left = length - range.chunk * range.chunk_keys;
      result.most_keys = std::max(result.most_keys, std::min(range.chunk_keys, left));
    }
    result.turns += row_blocks * a.kv_heads;
  }
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const auto& x, const auto& y) { return x.first < y.first; });
  for (const auto& [key, range] : sorted) result.ranges.push_back(range);
  return result;
}

// When the last thread ends, where each takes the next item as soon as it is free.
template <class Range>
double makespan(const std::vector<Range>& ranges, const Attention& a, int threads) {
  std::vector<double> ends(static_cast<size_t>(threads), 0.0);
  for (const Range& range : ranges)
    for (int64_t head = 0; head < a.kv_heads; ++head)
      *std::min_element(ends.begin(), ends.end()) += cost_of(a, range);
  return *std::max_element(ends.begin(), ends.end());
}

// With many items for each thread, their order alone is balance enough.
bool is_plenty(size_t ranges, const Attention& a, int threads) {
  return static_cast<int64_t>(ranges) * a.kv_heads >= 32 * static_cast<int64_t>(threads);
}

}  // namespace

std::vector<QueryRange> split_queries(const std::vector<Sequence>& sequences, const Attention& a,
                                      const AttentionKernels& kernels, int threads) {
  std::vector<QueryRange> best = ranges_of(sequences, a, kernels.most_rows);
  if (threads == 1 || is_plenty(best.size(), a, threads)) return best;
  double least = makespan(best, a, threads);
  for (const int64_t rows : {1120, 560, 280}) {
    std::vector<QueryRange> candidate =
        ranges_of(sequences, a, round_up(rows, kernels.row_granularity));
    const double end = makespan(candidate, a, threads);
    const bool is_last = is_plenty(candidate.size(), a, threads);
    if (end < least) {
      least = end;
      best = std::move(candidate);
    }
    if (is_last) break;
  }
  return best;
}

KeyRanges split_keys(const std::vector<Sequence>& sequences, const Attention& a,
                     const AttentionKernels& kernels, int threads) {
  KeyRanges best = ranges_of_keys(sequences, a, kernels, 1120);
  if (threads == 1 || is_plenty(best.ranges.size(), a, threads)) return best;
  double least = makespan(best.ranges, a, threads);
  for (const int64_t keys : {560, 336, 224}) {
    KeyRanges candidate = ranges_of_keys(sequences, a, kernels, keys);
    const double end = makespan(candidate.ranges, a, threads);
    const bool is_last = is_plenty(candidate.ranges.size(), a, threads);
    if (end < least) {
      least = end;
      best = std::move(candidate);
    }
    if (is_last) break;
  }
  return best;
}

}  // namespace fms_accel::ops
