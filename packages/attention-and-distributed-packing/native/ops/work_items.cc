#include "ops/work_items.h"

#include <algorithm>
#include <functional>
#include <initializer_list>
#include <utility>

namespace fms_accel::ops {
namespace {

int64_t round_up(int64_t x, int64_t to) { return (x + to - 1) / to * to; }

// Tokens that the token at `position` of a sequence sees.
int64_t visible(const Attention& a, int64_t length, int64_t position) {
  const int64_t reach = a.window > 0 ? std::min(a.window, length) : length;
  const int64_t before = std::min(position + 1, reach);
  return a.is_causal ? before : before + std::min(length - position - 1, reach - 1);
}

// An item of the first head, and its cost in pairs of rows and keys.
template <class Item>
struct Costed {
  double cost;
  Item item;
};
template <class Item>
using Costs = std::vector<Costed<Item>>;

// What packing one key costs, in pairs; measured at head dimensions 64 and 128.
constexpr double kPackingCost = 30;

// Pairs by the row in the middle.
double cost_of(const Attention& a, const QueryItem& item) {
  const int64_t group = a.heads / a.kv_heads, length = item.sequence.length,
                last = (item.first_row + item.rows - 1) / group,
                keys = std::min(length, visible(a, length, last) + item.rows / group);
  return static_cast<double>(item.rows) *
             static_cast<double>(visible(a, length, (item.first_row + item.rows / 2) / group)) +
         kPackingCost * static_cast<double>(keys);
}

Costs<QueryItem> queries_of(const std::vector<Sequence>& sequences, const Attention& a,
                            int64_t rows) {
  Costs<QueryItem> result;
  for (const Sequence& sequence : sequences) {
    const int64_t all = sequence.length * (a.heads / a.kv_heads);
    for (int64_t row = 0; row < all; row += rows) {
      const QueryItem item{sequence, 0, row, std::min(rows, all - row)};
      result.push_back({cost_of(a, item), item});
    }
  }
  return result;
}

// What packing the query rows once more costs a row, in pairs of backward.
constexpr double kRowPackingCost = 16;

double cost_of(const Attention& a, const KeyItem& item) {
  const int64_t length = item.sequence.length, first = item.chunk * item.chunk_keys,
                keys = std::min(item.chunk_keys, length - first);
  // A key is seen by as many tokens as the mirrored token sees.
  const auto seen_by = [&](int64_t key) {
    return static_cast<double>(visible(a, length, length - 1 - key));
  };
  const double group = static_cast<double>(a.heads / a.kv_heads);
  return group *
         (static_cast<double>(keys) * seen_by(first + keys / 2) + kRowPackingCost * seen_by(first));
}

int64_t turns_of(const Sequence& sequence, const Attention& a, const AttentionKernels& kernels) {
  const int64_t rows = sequence.length * (a.heads / a.kv_heads);
  return (rows + kernels.row_block - 1) / kernels.row_block;
}

Costs<KeyItem> keys_of(const std::vector<Sequence>& sequences, const Attention& a,
                       const AttentionKernels& kernels, int64_t keys) {
  constexpr int64_t kMostChunks = 8;
  Costs<KeyItem> result;
  int64_t first_turn = 0;
  for (const Sequence& sequence : sequences) {
    const int64_t share = std::max(keys, (sequence.length + kMostChunks - 1) / kMostChunks);
    KeyItem item{sequence, 0, 0, round_up(share, kernels.key_granularity), first_turn};
    // Falls, so that no chunk comes before a lower one.
    double cost = cost_of(a, item);
    for (; item.chunk * item.chunk_keys < sequence.length; ++item.chunk) {
      cost = std::min(cost, cost_of(a, item));
      result.push_back({cost, item});
    }
    first_turn += turns_of(sequence, a, kernels) * a.kv_heads;
  }
  return result;
}

// The first `coarse_heads` heads are cut in one way, the others in a finer one.
template <class Item>
struct Split {
  Costs<Item> coarse, fine;
  int64_t coarse_heads;
};

// When the last thread ends, where each takes the longest item that is left as soon as it is free.
template <class Item>
double makespan(const Split<Item>& split, int64_t heads, int threads) {
  std::vector<double> costs;
  for (int64_t head = 0; head < heads; ++head)
    for (const Costed<Item>& x : head < split.coarse_heads ? split.coarse : split.fine)
      costs.push_back(x.cost);
  std::sort(costs.begin(), costs.end(), std::greater<>());
  std::vector<double> ends(static_cast<size_t>(threads), 0.0);  // a heap, the earliest at the front
  for (const double cost : costs) {
    std::pop_heap(ends.begin(), ends.end(), std::greater<>());
    ends.back() += cost;
    std::push_heap(ends.begin(), ends.end(), std::greater<>());
  }
  return *std::max_element(ends.begin(), ends.end());
}

// The items of the split that ends first. `cut(size)` gives the items of a head in ranges of that
// size; sizes fall.
template <class Item, class Cut>
Costs<Item> balanced(const Cut& cut, std::initializer_list<int64_t> sizes, int64_t heads,
                     int threads) {
  constexpr double kGoodEnough = 1.01;
  Split<Item> best{cut(*sizes.begin()), {}, heads};
  // With many items for each thread, their order alone is balance enough.
  const bool is_plenty =
      static_cast<int64_t>(best.coarse.size()) * heads >= 16 * static_cast<int64_t>(threads);
  if (threads > 1 && !is_plenty) {
    double all = 0;
    for (const Costed<Item>& x : best.coarse) all += x.cost * static_cast<double>(heads);
    const double goal = kGoodEnough * all / threads;
    const int64_t step = std::max<int64_t>(1, heads / 4);
    double least = makespan(best, heads, threads);
    for (const int64_t* size = sizes.begin() + 1; size < sizes.end() && least > goal; ++size) {
      Split<Item> candidate{best.coarse, cut(*size), heads - step};
      for (; candidate.coarse_heads >= 0 && least > goal; candidate.coarse_heads -= step) {
        const double end = makespan(candidate, heads, threads);
        if (end < least) {
          least = end;
          best = candidate;
        }
      }
    }
  }
  Costs<Item> items;
  for (int64_t head = 0; head < heads; ++head) {
    for (Costed<Item> x : head < best.coarse_heads ? best.coarse : best.fine) {
      x.item.kv_head = head;
      items.push_back(x);
    }
  }
  std::stable_sort(items.begin(), items.end(),
                   [](const Costed<Item>& x, const Costed<Item>& y) { return x.cost > y.cost; });
  return items;
}

}  // namespace

std::vector<QueryItem> split_queries(const std::vector<Sequence>& sequences, const Attention& a,
                                     const AttentionKernels& kernels, int threads) {
  const auto cut = [&](int64_t rows) {
    return queries_of(sequences, a,
                      std::min(kernels.most_rows, round_up(rows, kernels.row_granularity)));
  };
  std::vector<QueryItem> items;
  for (const auto& x :
       balanced<QueryItem>(cut, {kernels.most_rows, 1680, 1120, 560, 280}, a.kv_heads, threads))
    items.push_back(x.item);
  return items;
}

KeyItems split_keys(const std::vector<Sequence>& sequences, const Attention& a,
                    const AttentionKernels& kernels, int threads) {
  const auto cut = [&](int64_t keys) { return keys_of(sequences, a, kernels, keys); };
  KeyItems result;
  for (const auto& x :
       balanced<KeyItem>(cut, {1120, 784, 560, 448, 336, 224, 112}, a.kv_heads, threads)) {
    KeyItem item = x.item;
    item.first_turn += item.kv_head * turns_of(item.sequence, a, kernels);
    const int64_t left = item.sequence.length - item.chunk * item.chunk_keys;
    result.most_keys = std::max(result.most_keys, std::min(item.chunk_keys, left));
    result.items.push_back(item);
  }
  for (const Sequence& sequence : sequences)
    result.turns += turns_of(sequence, a, kernels) * a.kv_heads;
  return result;
}

}  // namespace fms_accel::ops
