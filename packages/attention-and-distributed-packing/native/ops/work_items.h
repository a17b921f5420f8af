// How the sequences of a call are cut into items for the threads.
#pragma once
#include <cstdint>
#include <vector>

#include "cpu/kernels.h"

namespace fms_accel::ops {

// Each of these is done for every key-value head.
struct QueryRange {
  Sequence sequence;
  int64_t first_row, rows;
};
struct KeyRange {
  Sequence sequence;
  int64_t chunk, chunk_keys;
  int64_t first_turn;  // of head 0; each head has row_blocks turns
  int64_t row_blocks;
};

// Longest first. How many rows a range has depends on the threads; no bit of a result does.
std::vector<QueryRange> split_queries(const std::vector<Sequence>&, const Attention&,
                                      const AttentionKernels&, int threads);

struct KeyRanges {
  std::vector<KeyRange> ranges;
  int64_t turns = 0;
  int64_t most_keys = 0;  // of a range
};
// Lower chunks first, so that items wait for those that were handed out before; then longest first.
KeyRanges split_keys(const std::vector<Sequence>&, const Attention&, const AttentionKernels&,
                     int threads);

}  // namespace fms_accel::ops
