// The cuda device as the engine sees it. device.cu holds it where CUDA (or the emulator) is
// compiled in, absent.cc where it is not: then `probe` says so, and everything else throws Error.
//
// Each device has one stream for all work and an allocator that hands out memory in the order of
// that stream, so blocks are reused without waiting for kernels.
#pragma once
#include <string>
#include <vector>

#include "cpu/kernels.h"
#include "engine/allocator.h"
#include "engine/tensor.h"
#include "fms_accel/tensor_abi.h"

namespace fms_accel::cuda {

struct DeviceDescription {
  std::string name;
  int capability = 0;  // 10 * major + minor
  int multiprocessors = 0;
  size_t total_bytes = 0, free_bytes = 0;
};

struct Status {
  std::string build;  // "none", "cuda <version>" or "emulator"
  std::string architectures;
  int driver_version = 0, runtime_version = 0;  // 1000 * major + 10 * minor; 0 is none
  std::vector<DeviceDescription> devices;
  std::string cublaslt;  // its version, or why it is not used
  std::string problem;   // why there is no device, and what would help; empty when there is one
};

// Never throws, and touches no device's memory.
Status probe();

// Throws Error with the remedy unless device `index` can be used.
void require_device(int index);

// The kernels, after making `index` the current device of this thread.
const Kernels& kernels(int index);
void* stream(int index);

// Throws Error that names what was asked for, what is held and what would help.
void* allocate(int index, size_t bytes);
void release(int index, void* data, size_t bytes);
MemoryStatistics memory_statistics(int index);

// What a device was given to do since the process began.
struct WorkStatistics {
  int64_t launches = 0;
  int64_t waits = 0;             // how often the host waited for the device
  int64_t library_products = 0;  // that cuBLASLt was given
  int64_t graph_launches = 0;    // whose kernels are not among `launches`
  int64_t bytes_to_device = 0, bytes_to_host = 0;
};
WorkStatistics work_statistics(int index);
void reset_peak(int index);
void release_cached(int index);

// In stream order. A copy to the host has ended on return; one from the host has been read.
void copy(void* to, Device to_device, const void* from, Device from_device, size_t bytes);
// Waits for all work, and throws what went wrong in it.
void synchronize(int index);

// ---- Graphs: native/cuda/graph.cc ----

struct GraphStatistics {
  int64_t kernels = 0;
  int64_t nodes = 0;  // kernels, copies and fills
};
// From here on this thread's work on the device is recorded and not done. Memory that it asks for
// belongs to the graph, or to all graphs that share memory; 0: with none. `random_state` is memory
// of the device for two words of 64 bits, which the caller keeps: the seed of every draw, and what
// is added to its offset. Returns the graph's number.
int64_t begin_capture(int index, int64_t shares_memory_with, const void* random_state);
// While one lives, memory that this thread asks for is the device's also during a capture: for what
// the host writes before a launch, which kernels that are recorded earlier must not use.
class OutsideOfGraphs {
 public:
  OutsideOfGraphs();
  ~OutsideOfGraphs();
  OutsideOfGraphs(const OutsideOfGraphs&) = delete;
  OutsideOfGraphs& operator=(const OutsideOfGraphs&) = delete;
};
// Throws where CUDA has ended the capture; the graph is released then.
GraphStatistics end_capture(int index);
// Gives up what was recorded. Does nothing where no capture is under way.
void abort_capture(int index);
// Enqueues the recorded work. Bytes that the host gave during the capture are given again.
void launch_graph(int index, int64_t graph);
// Waits for the device. The memory goes back to it when no other graph shares it.
void release_graph(int index, int64_t graph);

// Runs a kernel that fails, and throws DeviceError. On a GPU the device is lost to the process.
void provoke_fault(int index);

// `checked` [count] = `index`, where each value lies in [0, size) or is `allowed`, which becomes
// -1. A value out of range becomes 0 and raises the error at the next point that waits for the
// device (at once where FMS_ACCEL_CUDA_SYNC=1, and in the emulator).
struct IndexCheck {
  const char* op;
  Shape shape;  // of the index, for the message
  int64_t size;
  bool allows = false;
  int64_t allowed = 0;
  bool is_label = false;  // for the message
  std::string message{};  // a plugin's own, in place of all this
};
void check_indices(int device, const int64_t* index, int64_t count, int64_t* checked,
                   const IndexCheck& check);

// A record for a plugin's kernels; when they write it, the error is "<message>, found <value> at
// <position>".
fms_accel_device_record* plugin_record(int device, const char* message);
// Counts a kernel that a plugin has enqueued, and does what is done after each launch.
void plugin_launched(int device);

}  // namespace fms_accel::cuda
