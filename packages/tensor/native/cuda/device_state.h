// What the device layer's files share of a device: its stream, its memory, and what the host has
// not looked at yet. Launchers include stream.h instead.
#pragma once
#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <vector>

#include "cuda/device.h"
#include "cuda/index_check.h"
#include "cuda/staging.h"
#include "cuda/stream.h"

namespace fms_accel::cuda {

constexpr size_t kChecks = 1024;

// Memory of captured graphs: what their kernels write keeps its addresses as long as one of them
// lives, and serves nobody else. The lock of the device guards it.
struct GraphPool {
  std::multimap<size_t, void*> free_blocks;
};

struct Block {
  size_t size = 0;
  std::shared_ptr<GraphPool> pool;  // that it goes back to; none: to the device
};

struct Graph {
  std::shared_ptr<GraphPool> pool;
  // Blocks of the device that were given up during the capture: kernels before that may use them.
  std::vector<std::pair<size_t, void*>> parked;
  // Bytes that the host gave during the capture, read again by every launch.
  std::vector<void*> pinned;
  size_t pinned_used = 0;
  std::vector<IndexCheck> checks;
  CheckRecord* records = nullptr;  // kChecks of them, pinned
  bool has_unseen_checks = false;  // launched since the host looked at them
  const uint64_t* random_state = nullptr;
  int64_t kernels = 0;
  cudaGraphExec_t executable = nullptr;
};

struct DeviceState {
  std::mutex mutex;
  cudaStream_t stream = nullptr;
  std::multimap<size_t, void*> free_blocks;
  std::unordered_map<void*, Block> used_blocks;
  MemoryStatistics statistics;
  std::atomic<int64_t> launches{0}, waits{0}, library_products{0}, graph_launches{0},
      bytes_to_device{0}, bytes_to_host{0};
  std::mutex staging_mutex;
  Staging staging;
  // Checks of indices that the host has not looked at yet. A record lies in pinned memory, where
  // the device writes it.
  std::vector<IndexCheck> checks;
  CheckRecord* records = nullptr;  // kChecks of them
  std::map<int64_t, Graph> graphs;
  int64_t next_graph = 1;
  // The graph that `capturing_thread` is recording. Other threads may only free memory meanwhile.
  std::atomic<Graph*> capture{nullptr};
  int64_t capture_id = 0;
  std::thread::id capturing_thread;
};

// Never destroyed: tensors may be freed while the process is exiting.
DeviceState& state_of(int index);
DeviceState& current_state();
void make_current(int index);

// Whether every launch is waited for: in the emulator, and where FMS_ACCEL_CUDA_SYNC=1.
bool is_synchronous();
// Whether freed blocks are kept for reuse. The emulator checks bounds block by block: there each
// tensor has memory of its own, of its exact size.
bool keeps_blocks();

// Waits for the stream and throws what went wrong in it.
void wait(DeviceState& state);
// Throws for the first index that was out of range; the stream has been waited for.
void report_checks(DeviceState& state);
// The next three: the caller holds the lock.
void free_cached_blocks(DeviceState& state);
// Gives a block that nobody uses back to the device, in stream order.
void give_back(DeviceState& state, size_t size, void* data);

// The graph that this thread records on the device, or none. Throws where another thread does.
Graph* capture_of(DeviceState& state);
// Throws an Error that says what cannot be part of a graph, and why, while one is recorded.
void refuse_in_capture(DeviceState& state, const char* what);
// Memory of the host for `bytes` that the graph reads whenever it is launched.
void* pinned_of(Graph& graph, size_t bytes);

// Calls of CUDA that capturing forbids but for memory of the graph's own.
class AllowDuringCapture {
 public:
  AllowDuringCapture() { cudaThreadExchangeStreamCaptureMode(&mode_); }
  ~AllowDuringCapture() { cudaThreadExchangeStreamCaptureMode(&mode_); }
  AllowDuringCapture(const AllowDuringCapture&) = delete;
  AllowDuringCapture& operator=(const AllowDuringCapture&) = delete;

 private:
  cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;
};

}  // namespace fms_accel::cuda
