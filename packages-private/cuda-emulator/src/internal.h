// Shared between the emulator's own files; kernels do not include it.
#pragma once
#include <functional>

#include "cuda_emulator/core.h"

namespace cuda_emulator {

struct ThreadPlace {
  uint3 index{};
  int linear = 0, lane = 0, warp = 0;
  uint32_t warp_epoch = 0;  // advanced by __syncwarp
};
struct BlockState {
  uint32_t id = 0, launch = 0, barrier_epoch = 0;
  bool fenced = false;  // some thread ran __threadfence()
  char* shared = nullptr;
  size_t shared_bytes = 0;
};
extern BlockState block_state;

// Bytes around every piece of emulated memory that nothing may touch.
constexpr size_t kRedZone = 1024;

bool in_kernel();
ThreadPlace* current_thread();
ThreadPlace* sibling(int lane);
bool in_static_arena(const void* data);  // the memory behind SHARED()
bool in_static_slot(const void* data, size_t bytes);
bool on_current_stack(const void* data);

// From one to the other a cp.async is on its way to `to`: accesses are faults (checks.cc).
void note_copy_start(const void* to, size_t bytes, Site site);
void note_copy_end(const void* to, size_t bytes);

enum class Memory { kHost, kDevice, kRedZone };
Memory memory_at(const void* data, size_t bytes);  // runtime.cc
cudaError_t check_launch(dim3 grid, dim3 block, size_t shared_bytes);
std::string description_of_block(const void* data);

// graphs.cc. While this thread captures, work is recorded as nodes: closures that do it when the
// graph is launched.
bool is_capturing();
void record(std::function<cudaError_t()> node);
// Whether a call that waits for the device is made during a capture, which that ends.
bool breaks_capture();
// The same for calls that CUDA calls unsafe unless the thread's mode is relaxed: memory, mostly.
bool is_unsafe_in_capture();

}  // namespace cuda_emulator
