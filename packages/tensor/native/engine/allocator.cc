#include "engine/allocator.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "cpu/dry_run.h"
#include "engine/error.h"

namespace fms_accel {
namespace {

constexpr size_t kLarge = size_t{64} << 10;
constexpr size_t kHugePage = size_t{2} << 20;
// Blocks from this size to that of a huge page are cut from arenas of huge pages: most matrices of
// a small model are that large, and reading them page by page is slower by a quarter.
constexpr size_t kCut = size_t{256} << 10, kArena = size_t{32} << 20;
// Free blocks are kept as long as they and what is live stay within the largest amount that was
// live lately (a training step allocates the same blocks as the one before), and this much beyond;
// then the largest are given back to the system. Blocks are not divided, so the gradients of a
// model that is trained as a whole do not fit into what its activations leave: a quarter more is
// kept for them, or each step would ask the system for their pages again.
constexpr int64_t kCacheAllowance = int64_t{256} << 20, kCacheShare = 4;
// "Lately": between one and two times so many allocations of large blocks.
constexpr int64_t kWindow = 16384;

struct Cache {
  std::mutex mutex;
  std::multimap<size_t, void*> free_blocks;        // by block size
  std::unordered_map<void*, size_t> large_blocks;  // sizes of those in use
  MemoryStatistics statistics;
  int64_t most_live_now = 0, most_live_before = 0;  // of this window and of the one before
  int64_t allocations = 0;                          // of this window
  char* arena = nullptr;  // what is left of the arena that blocks are cut from
  size_t arena_left = 0;

  // Bytes of free blocks that may be kept.
  int64_t room() const {
    const int64_t most = std::max(most_live_now, most_live_before);
    return most + std::max(kCacheAllowance, most / kCacheShare) - statistics.live_bytes;
  }
};

// Never destroyed: tensors may be freed while the process is exiting.
Cache& cache() {
  static Cache* instance = new Cache;
  return *instance;
}

// Sizes of large blocks are rounded, so that similar ones can serve each other.
size_t block_size(size_t bytes) {
  size_t step = kLarge / 8;
  while (step * 16 < bytes) step *= 2;
  return (bytes + step - 1) / step * step;
}

void* map_pages(size_t size, bool dry) {
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS | (dry ? MAP_NORESERVE : 0);
  void* data = mmap(nullptr, size, PROT_READ | PROT_WRITE, flags, -1, 0);
  if (data == MAP_FAILED) return nullptr;
#ifdef MADV_HUGEPAGE
  if (size >= kHugePage && !dry) madvise(data, size, MADV_HUGEPAGE);
#endif
  return data;
}

// The caller holds the lock. Each block is unmapped by itself, also where it was cut from an arena.
void* map_block(Cache& state, size_t size) {
  const bool dry = is_dry_run();
  if (dry || size < kCut || size >= kHugePage) return map_pages(size, dry);
  if (state.arena_left < size) {
    if (state.arena_left > 0) munmap(state.arena, state.arena_left);
    state.arena = static_cast<char*>(map_pages(kArena, dry));
    state.arena_left = state.arena == nullptr ? 0 : kArena;
    if (state.arena == nullptr) return map_pages(size, dry);  // there may be room for one block
  }
  void* data = state.arena;
  state.arena += size;
  state.arena_left -= size;
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
  state.most_live_now = std::max(state.most_live_now, state.statistics.live_bytes);
}

// The caller holds the lock. Null when the system has no memory left.
void* take_large(Cache& state, size_t bytes) {
  if (++state.allocations == kWindow) {
    state.allocations = 0;
    state.most_live_before = std::exchange(state.most_live_now, state.statistics.live_bytes);
  }
  const size_t size = block_size(bytes);
  // The smallest free block that is large enough, unless a third of it or more would be wasted.
  const auto found = state.free_blocks.lower_bound(size);
  if (found != state.free_blocks.end() && found->first <= size + size / 2) {
    void* data = found->second;
    state.statistics.cached_bytes -= static_cast<int64_t>(found->first);
    state.large_blocks.emplace(data, found->first);
    state.free_blocks.erase(found);
    return data;
  }
  trim(state, state.room() - static_cast<int64_t>(size));
  void* data = map_block(state, size);
  if (data == nullptr) {
    trim(state, 0);
    data = map_block(state, size);
  }
  if (data != nullptr) state.large_blocks.emplace(data, size);
  return data;
}

}  // namespace

void* allocate_host(size_t bytes) {
  Cache& state = cache();
  const std::lock_guard<std::mutex> lock(state.mutex);
  void* data =
      bytes < kLarge ? std::aligned_alloc(64, (bytes + 127) / 64 * 64) : take_large(state, bytes);
  check(data != nullptr, "out of memory: ", bytes, " bytes were asked for while tensors hold ",
        state.statistics.live_bytes,
        " bytes; use a smaller batch, gradient checkpointing or a shorter sequence");
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
  const auto block = state.large_blocks.find(data);
  // Before others of its size, so that it is the next to be taken: the pages of those that were
  // never written take no memory yet.
  state.free_blocks.emplace_hint(state.free_blocks.lower_bound(block->second), block->second, data);
  state.statistics.cached_bytes += static_cast<int64_t>(block->second);
  state.large_blocks.erase(block);
  trim(state, state.room());
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

void forget_host_memory() {
  Cache& state = cache();
  const std::lock_guard<std::mutex> lock(state.mutex);
  state.most_live_now = state.most_live_before = state.statistics.live_bytes;
  trim(state, 0);
}

}  // namespace fms_accel
