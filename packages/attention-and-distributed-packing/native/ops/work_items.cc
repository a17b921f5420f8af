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
  std::vector<QueryRange> ranges;
  for (const Sequence& sequence : sequences) {
    const int64_t all = sequence.length * (a.heads / a.kv_heads);
    for (int64_t row = 0; row < all; row += rows)
      ranges.push_back({sequence, row, std::min(rows, all - row)});
  }
  std::vector<std::pair<double, size_t>> order;
  for (size_t i = 0; i < ranges.size(); ++i) order.emplace_back(-cost_of(a, ranges[i]), i);
  std::sort(order.begin(), order.end());
  std::vector<QueryRange> sorted;
  for (const auto& [cost, index] : order) sorted.push_back(ranges[index]);
  return sorted;
}

// When the last thread ends, where each takes the next item as soon as it is free.
double makespan(const std::vector<QueryRange>& ranges, const Attention& a, int threads) {
  std::vector<double> ends(static_cast<size_t>(threads), 0.0);
  for (const QueryRange& range : ranges)
    for (int64_t head = 0; head < a.kv_heads; ++head)
      *std::min_element(ends.begin(), ends.end()) += cost_of(a, range);
  return *std::max_element(ends.begin(), ends.end());
}

}  // namespace

std::vector<QueryRange> split_queries(const std::vector<Sequence>& sequences, const Attention& a,
                                      const AttentionKernels& kernels, int threads) {
  std::vector<QueryRange> best = ranges_of(sequences, a, kernels.most_rows);
  // With many items per thread the longest first is balance enough.
  const auto is_plenty = [&](const std::vector<QueryRange>& ranges) {
    return static_cast<int64_t>(ranges.size()) * a.kv_heads >= 32 * static_cast<int64_t>(threads);
  };
  if (threads == 1 || is_plenty(best)) return best;
  double least = makespan(best, a, threads);
  for (int64_t rows = kernels.most_rows / 2; rows >= 256; rows /= 2) {
    std::vector<QueryRange> candidate =
        ranges_of(sequences, a, round_up(rows, kernels.row_granularity));
    const double end = makespan(candidate, a, threads);
    const bool is_last = is_plenty(candidate);
    if (end < least) {
      least = end;
      best = std::move(candidate);
    }
    if (is_last) break;
  }
  return best;
}

KeyRanges split_keys(const std::vector<Sequence>& sequences, const Attention& a,
                     const AttentionKernels& kernels) {
  constexpr int64_t kKeys = 1120;       // that a long sequence's chunk has at least
  constexpr int64_t kFewestKeys = 240;  // that a chunk is worth its packing of the queries
  constexpr int64_t kMostChunks = 8;
  // Where there are few heads, chunks are what threads share.
  const int64_t wanted_chunks = (5 + a.kv_heads) / a.kv_heads;
  KeyRanges result;
  std::vector<std::pair<std::pair<int64_t, double>, KeyRange>> sorted;
  for (const Sequence& sequence : sequences) {
    const int64_t length = sequence.length, group = a.heads / a.kv_heads;
    const int64_t share = std::max(kFewestKeys, (length + wanted_chunks - 1) / wanted_chunks);
    const int64_t chunk_keys =
        length < 2 * kFewestKeys
            ? round_up(length, kernels.key_granularity)
            : round_up(std::max(std::min(share, kKeys), (length + kMostChunks - 1) / kMostChunks),
                       kernels.key_granularity);
    const int64_t row_blocks = (length * group + kernels.row_block - 1) / kernels.row_block;
    for (int64_t chunk = 0; chunk * chunk_keys < length; ++chunk) {
      const int64_t first = chunk * chunk_keys, keys = std::min(chunk_keys, length - first);
      // Under the causal mask a key is seen by as many tokens as the mirrored token sees.
      const double cost = static_cast<double>(keys) *
                          static_cast<double>(visible(a, length, length - 1 - first - keys / 2));
      sorted.push_back({{chunk, -cost}, {sequence, chunk, chunk_keys, result.turns, row_blocks}});
      result.most_keys = std::max(result.most_keys, keys);
    }
    result.turns += row_blocks * a.kv_heads;
  }
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const auto& x, const auto& y) { return x.first < y.first; });
  for (const auto& [key, range] : sorted) result.ranges.push_back(range);
  return result;
}

}  // namespace fms_accel::ops
