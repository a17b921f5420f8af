#include "engine/memory_bandwidth.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>

#include "engine/error.h"
#include "engine/thread_pool.h"

namespace fms_accel {
namespace {

constexpr int64_t kItemBytes = 256 << 10;
constexpr int64_t kPrefetch = 6144;  // how far ahead lines are asked for

// Running sums side by side, so that loads and not additions are the limit.
uint64_t read_bytes(const char* from, int64_t bytes) {
  constexpr int64_t kWords = 16, kRun = kWords * 8;
  uint64_t sums[kWords] = {};
  for (int64_t at = 0; at + kRun <= bytes; at += kRun) {
    for (int64_t line = 0; line < kRun; line += 64)
      __builtin_prefetch(from + at + line + kPrefetch, 0, 2);
    uint64_t words[kWords];
    memcpy(words, from + at, kRun);
    for (int64_t i = 0; i < kWords; ++i) sums[i] += words[i];
  }
  uint64_t total = 0;
  for (const uint64_t sum : sums) total += sum;
  return total;
}

}  // namespace

double read_bandwidth(const std::vector<Tensor>& tensors) {
  struct Piece {
    const char* from;
    int64_t bytes;
  };
  std::vector<Piece> pieces;
  int64_t total = 0;
  for (const Tensor& tensor : tensors) {
    check(tensor.is_contiguous(), "readBandwidth: expected contiguous tensors");
    const int64_t bytes = tensor.numel() * static_cast<int64_t>(item_size(tensor.dtype));
    for (int64_t at = 0; at < bytes; at += kItemBytes)
      pieces.push_back(
          {static_cast<const char*>(tensor.raw()) + at, std::min(kItemBytes, bytes - at)});
    total += bytes;
  }
  std::atomic<uint64_t> sum{0};  // used, so that reading cannot be left out
  const auto start = std::chrono::steady_clock::now();
  parallel_for(static_cast<int64_t>(pieces.size()), [&](int64_t item, int) {
    const Piece& piece = pieces[static_cast<size_t>(item)];
    sum.fetch_add(read_bytes(piece.from, piece.bytes), std::memory_order_relaxed);
  });
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  return static_cast<double>(total) / seconds.count();
}

}  // namespace fms_accel
