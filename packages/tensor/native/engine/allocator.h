// Host memory for tensors: 64-byte aligned; blocks of 64 KiB and more are kept and handed out
// again, because a fresh mapping costs a page fault for every 4 KiB.
#pragma once
#include <cstddef>
#include <cstdint>

namespace fms_accel {

struct MemoryStatistics {
  int64_t live_bytes = 0;    // held by tensors
  int64_t peak_bytes = 0;    // the largest live_bytes since reset_peak
  int64_t cached_bytes = 0;  // free, kept for reuse
  int64_t graph_bytes = 0;   // of a device: not held by tensors, but used when a graph is launched
};

// All functions are safe on any thread.
// Throws Error with the size, what is live and what would help when the system has no memory left.
void* allocate_host(size_t bytes);
void free_host(void* data, size_t bytes);  // `bytes` as given to allocate_host
void release_cached_host_memory();
MemoryStatistics host_memory_statistics();
void reset_peak_host_memory();
// Frees what is kept for reuse, and keeps no more than what is live now needs.
void forget_host_memory();

}  // namespace fms_accel
