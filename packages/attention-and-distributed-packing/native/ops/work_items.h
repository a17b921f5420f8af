// How the sequences of a call are cut into items for the threads. How large items are depends on
// the threads; no bit of a result does.
#pragma once
#include <cstdint>
#include <vector>

#include "cpu/kernels.h"

namespace fms_accel::ops {

// Longest first.
std::vector<QueryItem> split_queries(const std::vector<Sequence>&, const Attention&,
                                     const AttentionKernels&, int threads);

struct KeyItems {
  std::vector<KeyItem> items;
  int64_t turns = 0;
  int64_t most_keys = 0;  // of an item
};
// Longest first, but for the chunks of one head: the lower ones come first, so that items wait for
// those that were handed out before.
KeyItems split_keys(const std::vector<Sequence>&, const Attention&, const AttentionKernels&,
                    int threads);

}  // namespace fms_accel::ops
