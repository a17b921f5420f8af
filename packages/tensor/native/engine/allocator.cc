#include "engine/allocator.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <mutex>

#include "engine/error.h"

namespace fms_accel {
namespace {

constexpr size_t kLarge = size_t{1} << 20;
constexpr size_t kHugePage = size_t{2} << 20;
// Free blocks are kept as long as they and what is live stay within the largest amount that was live (a training step allocates
// the same blocks as the one before), and this much beyond; then the largest are given back to the system.
constexpr int64_t kCacheAllowance = int64_t{256} << 20;

struct Cache {
  std::mutex mutex;
  std::multimap<size_t, void*> free_blocks;  // by block size
  MemoryStatistics statistics;
  int64_t most_live_bytes = 0;  // ever; statistics.peak_bytes can be reset
};

// Never destroyed: tensors may be freed while the process is exiting.
Cache& cache() {
  static Cache* instance = new Cache;
  return *instance;
}

// Sizes of large blocks are rounded so that a block serves requests that are up to an eighth smaller.
size_t block_size(size_t bytes) {
  size_t step = kLarge / 8;
  while (step * 16 < bytes) step *= 2;
  return (bytes + step - 1) / step * step;
}

void* map_block(size_t size) {
  void* data = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) return nullptr;
#ifdef MADV_HUGEPAGE
  if (size >= kHugePage) madvise(data, size, MADV_HUGEPAGE);
#endif
  return data;
}

// The caller holds the lock.
void trim(Cache& state, int64_t limit) {
  while (state.statistics.cached_bytes > limit && !state.free_blocks.empty()) {
    const auto largest = std::prev(state.free_blocks.end());
    munmap(largest->second, largest->first);
    state.statistics.cached_bytes -= static_cast<int64_t>(largest->first);
    state.free_blocks.erase(largest);
  }
}

void count(Cache& state, int64_t bytes) {
  state.statistics.live_bytes += bytes;
  state.statistics.peak_bytes = std::max(state.statistics.peak_bytes, state.statistics.live_bytes);
  state.most_live_bytes = std::max(state.most_live_bytes, state.statistics.live_bytes);
}

}  // namespace

void* allocate_host(size_t bytes) {
  Cache& state = cache();
  const std::lock_guard<std::mutex> lock(state.mutex);
  void* data = nullptr;
  if (bytes < kLarge) {
    data = std::aligned_alloc(64, (bytes + 127) / 64 * 64);
  } else {
    const size_t size = block_size(bytes);
    const auto found = state.free_blocks.find(size);
    if (found != state.free_blocks.end()) {
      data = found->second;
      state.free_blocks.erase(found);
      state.statistics.cached_bytes -= static_cast<int64_t>(size);
    } else {
      // A size that the cache lacks: make room, so that changing sizes do not pile up blocks.
      trim(state, state.most_live_bytes + kCacheAllowance - state.statistics.live_bytes - static_cast<int64_t>(size));
      data = map_block(size);
      if (data == nullptr) {
        trim(state, 0);
        data = map_block(size);
      }
    }
  }
  check(data != nullptr, "out of memory: ", bytes, " bytes were asked for while tensors hold ",
        state.statistics.live_bytes, " bytes; use a smaller batch, gradient checkpointing or a shorter sequence");
  count(state, static_cast<int64_t>(bytes));
  return data;
}

void free_host(void* data, size_t bytes) {
  Cache& state = cache();
  const std::lock_guard<std::mutex> lock(state.mutex);
  count(state, -static_cast<int64_t>(bytes));
  if (bytes < kLarge) {
    std::free(data);
    return;
  }
  const size_t size = block_size(bytes);
  state.free_blocks.emplace(size, data);
  state.statistics.cached_bytes += static_cast<int64_t>(size);
  trim(state, state.most_live_bytes + kCacheAllowance - state.statistics.live_bytes);
}

void release_cached_host_memory() {
  Cache& state = cache();
  const std::lock_guard<std::mutex> lock(state.mutex);
  trim(state, 0);
}

MemoryStatistics host_memory_statistics() {
  Cache& state = cache();
  const std::lock_guard<std::mutex> lock(state.mutex);
  return state.statistics;
}

void reset_peak_host_memory() {
  Cache& state = cache();
  const std::lock_guard<std::mutex> lock(state.mutex);
  state.statistics.peak_bytes = state.statistics.live_bytes;
}

}  // namespace fms_accel
