#include "cuda/device.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "cuda/cublaslt.h"
#include "cuda/device_state.h"
#include "engine/error.h"

namespace fms_accel::cuda {

extern const Kernels kKernels;  // table.cc

namespace {

constexpr int64_t kSmall = int64_t{1} << 20, kRound = int64_t{2} << 20;

thread_local int thread_device = 0;
thread_local bool is_outside_of_graphs = false;

bool is_set(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr && strcmp(value, "0") != 0 && *value != 0;
}

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

// Why a count of devices could not be had.
std::string problem_of(cudaError_t error, const Status& status) {
  const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
  switch (error) {
    case cudaErrorInsufficientDriver:
      if (status.driver_version == 0)
        return "no NVIDIA driver was found: install one for CUDA " +
               version_text(status.runtime_version) +
               " or newer (in a container: start it with --gpus all)";
      return "the NVIDIA driver supports CUDA " + version_text(status.driver_version) +
             ", this build needs " + version_text(status.runtime_version) + ": update the driver";
    case cudaErrorNoDevice:
      return visible != nullptr
                 ? "CUDA_VISIBLE_DEVICES=" + std::string(visible) +
                       " shows no GPU: unset it, or name an existing one"
                 : "the machine has no NVIDIA GPU (or, in a container, none was passed to it)";
    default:
      return std::string("CUDA could not start: ") + cudaGetErrorString(error) +
             "; nvidia-smi may say more";
  }
}

Status probe_now() {
  Status status;
#if defined(FMS_ACCEL_CUDA_TOOLKIT)
  cudaRuntimeGetVersion(&status.runtime_version);
  status.build = "cuda " + version_text(status.runtime_version);
  status.architectures = FMS_ACCEL_CUDA_ARCHITECTURES;
#else
  cudaRuntimeGetVersion(&status.runtime_version);
  status.build = "emulator";
#endif
  if (cudaDriverGetVersion(&status.driver_version) != cudaSuccess) status.driver_version = 0;
  int count = 0;  // untouched on an error
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess || count == 0) {
    cudaGetLastError();
    status.problem = problem_of(error == cudaSuccess ? cudaErrorNoDevice : error, status);
    return status;
  }
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp properties;
    DeviceDescription device;
    if (cudaGetDeviceProperties(&properties, i) == cudaSuccess) {
      device.name = properties.name;
      device.capability = 10 * properties.major + properties.minor;
      device.multiprocessors = properties.multiProcessorCount;
      device.total_bytes = properties.totalGlobalMem;
    }
    if (device.capability < 80) {
      device.name += " (compute capability " + std::to_string(device.capability / 10) + "." +
                     std::to_string(device.capability % 10) + "; 8.0 or newer is needed)";
    }
    status.devices.push_back(device);
  }
  return status;
}

const Status& known_status() {
  static const Status* status = new Status(probe_now());
  return *status;
}

// Sizes are rounded, so that similar blocks can serve each other.
size_t block_size(size_t bytes) {
  if (!keeps_blocks()) return std::max<size_t>(bytes, 1);
  const auto unit = static_cast<size_t>(static_cast<int64_t>(bytes) < kSmall ? 512 : kRound);
  return std::max<size_t>(1, (bytes + unit - 1) / unit) * unit;
}

std::string mebibytes(int64_t bytes) { return std::to_string(bytes >> 20) + " MiB"; }

// What the first index of a list of checks that was out of range is reported as; none: nothing.
void report(const std::vector<IndexCheck>& checks, const CheckRecord* records) {
  for (size_t i = 0; i < checks.size(); ++i) {
    if (records[i].position == kNothingWrong) continue;
    const IndexCheck& check = checks[i];
    if (!check.message.empty())
      fail(check.message, ", found ", records[i].value, " at ", records[i].position);
    Shape position(check.shape.size());
    auto rest = static_cast<int64_t>(records[i].position);
    for (size_t d = check.shape.size(); d-- > 0;) {
      position[d] = rest % check.shape[d];
      rest /= check.shape[d];
    }
    if (check.is_label) {
      fail(check.op, ": label ", records[i].value, " of row ", position[0], " is out of range for ",
           check.size, " classes (rows with label ", check.allowed, " are ignored)");
    }
    fail(check.op, ": index ", records[i].value, " at ", to_string(position),
         " is out of range for size ", check.size);
  }
}

}  // namespace

bool is_synchronous() {
#if defined(FMS_ACCEL_CUDA_TOOLKIT)
  static const bool value = is_set("FMS_ACCEL_CUDA_SYNC");
  return value;
#else
  return true;
#endif
}

bool keeps_blocks() {
#if defined(FMS_ACCEL_CUDA_TOOLKIT)
  return true;
#else
  return is_set("FMS_ACCEL_CUDA_CACHE");
#endif
}

DeviceState& state_of(int index) {
  static std::mutex mutex;
  static auto* states = new std::map<int, DeviceState>;
  const std::lock_guard<std::mutex> lock(mutex);
  DeviceState& state = (*states)[index];
  if (state.stream == nullptr) {
    require(cudaSetDevice(index));
    require(cudaStreamCreateWithFlags(&state.stream, cudaStreamNonBlocking));
  }
  return state;
}

DeviceState& current_state() { return state_of(thread_device); }

void make_current(int index) {
  require(cudaSetDevice(index));
  thread_device = index;
}

void free_cached_blocks(DeviceState& state) {
  for (const auto& [size, data] : state.free_blocks) {
    cudaFree(data);  // waits for the device, so no kernel still uses it
    state.statistics.cached_bytes -= static_cast<int64_t>(size);
  }
  state.free_blocks.clear();
}

void give_back(DeviceState& state, size_t size, void* data) {
  if (!keeps_blocks()) {
    cudaFree(data);
    return;
  }
  state.free_blocks.emplace(size, data);
  state.statistics.cached_bytes += static_cast<int64_t>(size);
}

void report_checks(DeviceState& state) {
  std::vector<IndexCheck> checks;
  {
    const std::lock_guard<std::mutex> lock(state.mutex);
    checks.swap(state.checks);
  }
  report(checks, state.records);
  for (auto& [id, graph] : state.graphs) {
    if (!graph.has_unseen_checks) continue;
    graph.has_unseen_checks = false;
    const std::vector<CheckRecord> seen(graph.records, graph.records + graph.checks.size());
    for (size_t i = 0; i < graph.checks.size(); ++i) graph.records[i].position = kNothingWrong;
    report(graph.checks, seen.data());
  }
}

void wait(DeviceState& state) {
  refuse_in_capture(state, "Waiting for the device");
  ++state.waits;
  require(cudaStreamSynchronize(state.stream));
  report_checks(state);
}

void require(cudaError_t status) {
  if (status == cudaSuccess) return;
  cudaGetLastError();
  throw DeviceError(std::string(cudaGetErrorName(status)) + ": " + cudaGetErrorString(status));
}

int current_device() { return thread_device; }
cudaStream_t current_stream() {
  DeviceState& state = current_state();
  capture_of(state);  // throws where the stream is another thread's
  return state.stream;
}
void launched() {
  DeviceState& state = current_state();
  if (Graph* graph = capture_of(state)) {
    ++graph->kernels;
    return;
  }
  ++state.launches;
  if (is_synchronous()) require(cudaStreamSynchronize(state.stream));
}

void count_library_product() { ++current_state().library_products; }

Scratch::Scratch(size_t bytes)
    : device_(thread_device), bytes_(bytes), data_(allocate(thread_device, bytes)) {}
Scratch::~Scratch() { release(device_, data_, bytes_); }

void copy_on_device(void* to, const void* from, size_t bytes) {
  require(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, current_stream()));
}

void read_back(void* to, const void* from, size_t bytes) {
  DeviceState& state = current_state();
  refuse_in_capture(state, "Reading a value back to the host");
  state.bytes_to_host += static_cast<int64_t>(bytes);
  require(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, state.stream));
  wait(state);
}

Status probe() {
  Status status = known_status();
  if (!status.devices.empty()) status.cublaslt = cublaslt_description();
  for (size_t i = 0; i < status.devices.size(); ++i) {
    size_t total = 0;
    const int before = thread_device;
    if (cudaSetDevice(static_cast<int>(i)) == cudaSuccess)
      cudaMemGetInfo(&status.devices[i].free_bytes, &total);
    cudaSetDevice(before);
  }
  cudaGetLastError();
  return status;
}

void require_device(int index) {
  const Status& status = known_status();
  check(status.problem.empty(), "device cuda:", index, " is not available: ", status.problem);
  const int count = static_cast<int>(status.devices.size());
  check(index >= 0 && index < count, "device cuda:", index, " does not exist: there are ", count,
        " (cuda:0 to cuda:", count - 1, ")");
  const DeviceDescription& device = status.devices[static_cast<size_t>(index)];
  check(device.capability >= 80, "device cuda:", index, " cannot be used: ", device.name);
}

const Kernels& kernels(int index) {
  make_current(index);
  return kKernels;
}
void* stream(int index) { return state_of(index).stream; }

OutsideOfGraphs::OutsideOfGraphs() { is_outside_of_graphs = true; }
OutsideOfGraphs::~OutsideOfGraphs() { is_outside_of_graphs = false; }

void* allocate(int index, size_t bytes) {
  DeviceState& state = state_of(index);
  make_current(index);
  const bool is_recording = capture_of(state) != nullptr;
  Graph* const graph = is_outside_of_graphs ? nullptr : capture_of(state);
  const std::lock_guard<std::mutex> lock(state.mutex);
  const size_t size = block_size(bytes);
  auto& free_blocks = graph == nullptr ? state.free_blocks : graph->pool->free_blocks;
  auto& free_bytes_held =
      graph == nullptr ? state.statistics.cached_bytes : state.statistics.graph_bytes;
  void* data = nullptr;
  size_t given = size;
  // The smallest free block that is large enough, unless much of it would be wasted.
  const auto found = free_blocks.lower_bound(size);
  if (found != free_blocks.end() && found->first <= (keeps_blocks() ? size + size / 2 : size)) {
    given = found->first;
    data = found->second;
    free_bytes_held -= static_cast<int64_t>(given);
    free_blocks.erase(found);
  } else {
    const AllowDuringCapture allow;
    cudaError_t error = cudaMalloc(&data, size);
    if (error == cudaErrorMemoryAllocation && !is_recording) {
      cudaGetLastError();
      free_cached_blocks(state);
      error = cudaMalloc(&data, size);
    }
    if (error == cudaErrorMemoryAllocation) {
      cudaGetLastError();
      size_t free_bytes = 0, total = 0;
      cudaMemGetInfo(&free_bytes, &total);
      throw OutOfMemory(
          "cuda:" + std::to_string(index) + " is out of memory: " + std::to_string(bytes) +
          " bytes were asked for while tensors hold " + mebibytes(state.statistics.live_bytes) +
          " (at most " + mebibytes(state.statistics.peak_bytes) + " so far)" +
          (state.statistics.graph_bytes == 0
               ? ""
               : ", CUDA graphs " + mebibytes(state.statistics.graph_bytes) + " more") +
          ", and " + mebibytes(static_cast<int64_t>(free_bytes)) + " of " +
          mebibytes(static_cast<int64_t>(total)) +
          " are free; use a smaller batch, gradient checkpointing, a shorter sequence, or "
          "bfloat16; `fms-accel estimate` says what a run takes");
    }
    require(error);
  }
  state.used_blocks.emplace(data, Block{given, graph == nullptr ? nullptr : graph->pool});
  state.statistics.live_bytes += static_cast<int64_t>(given);
  state.statistics.peak_bytes = std::max(state.statistics.peak_bytes, state.statistics.live_bytes);
  return data;
}

void release(int index, void* data, size_t) {
  DeviceState& state = state_of(index);
  const std::lock_guard<std::mutex> lock(state.mutex);
  const auto found = state.used_blocks.find(data);
  const Block block = found->second;
  state.used_blocks.erase(found);
  state.statistics.live_bytes -= static_cast<int64_t>(block.size);
  Graph* const graph = state.capture;
  if (block.pool == nullptr && graph == nullptr) return give_back(state, block.size, data);
  state.statistics.graph_bytes += static_cast<int64_t>(block.size);
  if (block.pool != nullptr) {
    block.pool->free_blocks.emplace(block.size, data);
  } else {
    graph->parked.emplace_back(block.size, data);
  }
}

MemoryStatistics memory_statistics(int index) {
  require_device(index);
  DeviceState& state = state_of(index);
  const std::lock_guard<std::mutex> lock(state.mutex);
  return state.statistics;
}
WorkStatistics work_statistics(int index) {
  require_device(index);
  const DeviceState& state = state_of(index);
  WorkStatistics result;
  result.launches = state.launches;
  result.waits = state.waits;
  result.library_products = state.library_products;
  result.graph_launches = state.graph_launches;
  result.bytes_to_device = state.bytes_to_device;
  result.bytes_to_host = state.bytes_to_host;
  return result;
}
void reset_peak(int index) {
  DeviceState& state = state_of(index);
  const std::lock_guard<std::mutex> lock(state.mutex);
  state.statistics.peak_bytes = state.statistics.live_bytes;
}
void release_cached(int index) {
  DeviceState& state = state_of(index);
  make_current(index);
  refuse_in_capture(state, "Freeing cached memory");
  const std::lock_guard<std::mutex> lock(state.mutex);
  free_cached_blocks(state);
}

void copy(void* to, Device to_device, const void* from, Device from_device, size_t bytes) {
  if (bytes == 0) return;
  const bool to_cuda = to_device.type == 2, from_cuda = from_device.type == 2;
  const int index = from_cuda ? from_device.index : to_device.index;
  DeviceState& state = state_of(index);
  make_current(index);
  Graph* const graph = capture_of(state);
  if (graph != nullptr && from_cuda && from_device != to_device) {
    refuse_in_capture(state, to_cuda ? "Copying a tensor to another device"
                                     : "Reading a tensor back to the host");
  }
  if (to_cuda && from_cuda && to_device.index != from_device.index) {
    // The source's stream must have written, and the target's must wait for the copy.
    DeviceState& target = state_of(to_device.index);
    make_current(index);
    ++target.waits;
    require(cudaStreamSynchronize(target.stream));
    require(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, state.stream));
    return wait(state);
  }
  const cudaMemcpyKind kind = to_cuda ? cudaMemcpyDeviceToDevice : cudaMemcpyDeviceToHost;
  if (!from_cuda && graph != nullptr) {
    void* const constant = pinned_of(*graph, bytes);
    memcpy(constant, from, bytes);
    return require(cudaMemcpyAsync(to, constant, bytes, cudaMemcpyHostToDevice, state.stream));
  }
  if (!from_cuda) {
    state.bytes_to_device += static_cast<int64_t>(bytes);
    const std::lock_guard<std::mutex> lock(state.staging_mutex);
    return state.staging.to_device(to, from, bytes, state.stream);
  }
  require(cudaMemcpyAsync(to, from, bytes, kind, state.stream));
  if (to_cuda) return;
  state.bytes_to_host += static_cast<int64_t>(bytes);
  wait(state);
}

void synchronize(int index) {
  require_device(index);
  DeviceState& state = state_of(index);
  make_current(index);
  wait(state);
}

namespace {

// Where the device writes what it finds wrong.
CheckRecord* record_for(DeviceState& state, const IndexCheck& check) {
  Graph* const graph = capture_of(state);
  if (graph == nullptr && state.checks.size() == kChecks) wait(state);
  CheckRecord* record;
  {
    const std::lock_guard<std::mutex> lock(state.mutex);
    if (graph == nullptr && state.records == nullptr) {
      void* data = nullptr;
      require(cudaMallocHost(&data, kChecks * sizeof(CheckRecord)));
      state.records = static_cast<CheckRecord*>(data);
    }
    auto& checks = graph == nullptr ? state.checks : graph->checks;
    fms_accel::check(checks.size() < kChecks, check.op, ": a CUDA graph holds at most ", kChecks,
                     " operations with indices");
    record = (graph == nullptr ? state.records : graph->records) + checks.size();
    record->position = kNothingWrong;
    checks.push_back(check);
  }
  return record;
}

}  // namespace

void check_indices(int device, const int64_t* index, int64_t count, int64_t* checked,
                   const IndexCheck& check) {
  DeviceState& state = state_of(device);
  make_current(device);
  enqueue_index_check(index, count, checked, check, record_for(state, check));
  if (is_synchronous() && capture_of(state) == nullptr) report_checks(state);
}

fms_accel_device_record* plugin_record(int device, const char* message) {
  require_device(device);
  make_current(device);
  IndexCheck check{};
  check.op = "a plugin's operation";
  check.message = message;
  return record_for(state_of(device), check);
}
void plugin_launched(int device) {
  require_device(device);
  make_current(device);
  launched();
  DeviceState& state = state_of(device);
  if (is_synchronous() && capture_of(state) == nullptr) report_checks(state);
}

}  // namespace fms_accel::cuda
