// The CUDA runtime API over host memory. Allocations are recorded, with red zones around them: to
// check copies, to tell device memory from the host's, and to notice writes past an end.
//
// CUDA_EMULATOR_DEVICES: how many devices (2); `none`, `no-driver` and `old-driver` give what a
// machine without them gives. CUDA_EMULATOR_MEMORY: bytes of each device (8 GiB).
// CUDA_EMULATOR_FAULT: the number of the launch that fails, from 1; the devices are lost then, as a
// GPU is to its process.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "internal.h"

namespace {

constexpr int kPinned = -1;
struct Block {
  size_t bytes;
  int device;  // or kPinned
};
std::mutex mutex;
std::map<char*, Block> blocks;
size_t used[16];
cudaError_t last_error = cudaSuccess;
thread_local int current_device;
bool overrun_seen;

bool is_lost;  // after a fault
uint64_t launches;

// Copies from pinned memory, made when something waits for them or uses what they bring: memory of
// the host that is written again too early shows.
struct PinnedCopy {
  void* to;
  const void* from;
  size_t bytes;
};
std::vector<PinnedCopy> pinned_copies;

void make_pinned_copies() {
  for (const PinnedCopy& copy : pinned_copies) memcpy(copy.to, copy.from, copy.bytes);
  pinned_copies.clear();
}

constexpr unsigned char kZoneByte = 0xfe;
constexpr size_t kSharedOptIn = 227 * 1024;

cudaError_t give(cudaError_t error) {
  if (error != cudaSuccess) last_error = error;
  return error;
}

size_t device_bytes() {
  const char* text = getenv("CUDA_EMULATOR_MEMORY");
  return text != nullptr ? strtoull(text, nullptr, 10) : size_t{8} << 30;
}

int device_count() {
  const char* text = getenv("CUDA_EMULATOR_DEVICES");
  int count = text == nullptr ? 2 : atoi(text);
  const char* visible = getenv("CUDA_VISIBLE_DEVICES");
  if (visible == nullptr) return count;
  // A list of indices; the first that names no device ends it.
  int shown = 0;
  for (const char* at = visible; *at != 0;) {
    char* end;
    const long index = strtol(at, &end, 10);
    if (end == at || index < 0 || index >= count) break;
    ++shown;
    at = *end == ',' ? end + 1 : end;
  }
  return shown;
}

bool is_zone_intact(const char* begin) {
  for (size_t i = 0; i < cuda_emulator::kRedZone; ++i) {
    if (static_cast<unsigned char>(begin[i]) != kZoneByte) return false;
  }
  return true;
}

double now_milliseconds() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double, std::milli>(now).count();
}

std::map<char*, Block>::iterator block_around(const void* data, size_t zone) {
  char* at = static_cast<char*>(const_cast<void*>(data));
  auto block = blocks.upper_bound(at + zone);
  if (block == blocks.begin()) return blocks.end();
  --block;
  return at < block->first + block->second.bytes + zone ? block : blocks.end();
}

bool is_inside(const void* data, size_t bytes) {
  const auto block = block_around(data, 0);
  return block != blocks.end() && data >= block->first &&
         static_cast<const char*>(data) + bytes <= block->first + block->second.bytes;
}

}  // namespace

struct CUstream_st {};
struct CUevent_st {
  double milliseconds = 0;
};

namespace cuda_emulator {

Memory memory_at(const void* data, size_t bytes) {
  const std::lock_guard<std::mutex> lock(mutex);
  if (is_inside(data, bytes)) return Memory::kDevice;
  return block_around(data, kRedZone) != blocks.end() ? Memory::kRedZone : Memory::kHost;
}

std::string description_of_block(const void* data) {
  const std::lock_guard<std::mutex> lock(mutex);
  const auto block = block_around(data, kRedZone);
  if (block == blocks.end()) return "no device memory";
  const auto offset = static_cast<const char*>(data) - block->first;
  return "offset " + std::to_string(offset) + " of a block of " +
         std::to_string(block->second.bytes) + " bytes";
}

// The checks of a real launch.
cudaError_t check_launch(dim3 grid, dim3 block, size_t shared_bytes) {
  const std::lock_guard<std::mutex> lock(mutex);
  make_pinned_copies();
  static const char* faulty = getenv("CUDA_EMULATOR_FAULT");
  if (faulty != nullptr && ++launches == strtoull(faulty, nullptr, 10)) is_lost = true;
  if (is_lost) return give(cudaErrorIllegalAddress);
  if (overrun_seen) {
    overrun_seen = false;
    return give(cudaErrorIllegalAddress);
  }
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > 0x7fffffffu || grid.y > 65535 ||
      grid.z > 65535 || block.x * block.y * block.z == 0 || block.x * block.y * block.z > 1024 ||
      block.z > 64)
    return give(cudaErrorInvalidConfiguration);
  return shared_bytes > kSharedOptIn ? give(cudaErrorInvalidValue) : cudaSuccess;
}

}  // namespace cuda_emulator

extern "C" {

cudaError_t cudaDriverGetVersion(int* version) {
  const char* text = getenv("CUDA_EMULATOR_DEVICES");
  const std::string devices = text != nullptr ? text : "";
  *version = devices == "no-driver" ? 0 : devices == "old-driver" ? 11040 : 13000;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceCount(int* count) {
  int driver = 0;
  cudaDriverGetVersion(&driver);
  if (driver < 13000) return give(cudaErrorInsufficientDriver);
  const int found = device_count();
  if (found == 0) return give(cudaErrorNoDevice);
  *count = found;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= device_count()) return give(cudaErrorInvalidDevice);
  current_device = device;
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
  *device = current_device;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (device < 0 || device >= device_count()) return give(cudaErrorInvalidDevice);
  memset(properties, 0, sizeof *properties);
  snprintf(properties->name, sizeof properties->name, "CUDA emulator");
  properties->totalGlobalMem = device_bytes();
  properties->major = 9;
  properties->multiProcessorCount = 4;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  if (device < 0 || device >= device_count()) return give(cudaErrorInvalidDevice);
  switch (attribute) {
    case cudaDevAttrMultiProcessorCount:
      *value = 4;
      break;
    case cudaDevAttrComputeCapabilityMajor:
      *value = 9;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = 0;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = static_cast<int>(kSharedOptIn);
      break;
  }
  return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize() {
  return cuda_emulator::breaks_capture() ? give(cudaErrorStreamCaptureUnsupported) : cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total) {
  const std::lock_guard<std::mutex> lock(mutex);
  *total = device_bytes();
  *free_bytes = *total - used[current_device];
  return cudaSuccess;
}

static cudaError_t allocate(void** data, size_t bytes, int device) {
  if (cuda_emulator::is_unsafe_in_capture()) return give(cudaErrorStreamCaptureUnsupported);
  const std::lock_guard<std::mutex> lock(mutex);
  if (is_lost) return give(cudaErrorIllegalAddress);
  if (device >= 0 && used[device] + bytes > device_bytes()) return give(cudaErrorMemoryAllocation);
  // A block's end is exact, so that a write past it lands in the red zone.
  void* whole = nullptr;
  if (posix_memalign(&whole, 1024, bytes + 2 * cuda_emulator::kRedZone) != 0)
    return give(cudaErrorMemoryAllocation);
  char* begin = static_cast<char*>(whole) + cuda_emulator::kRedZone;
  memset(whole, kZoneByte, cuda_emulator::kRedZone);
  memset(begin, 0xff, bytes);  // NaN, so that a read of what nobody wrote shows
  memset(begin + bytes, kZoneByte, cuda_emulator::kRedZone);
  blocks[begin] = {bytes, device};
  if (device >= 0) used[device] += bytes;
  *data = begin;
  return cudaSuccess;
}

cudaError_t cudaMalloc(void** data, size_t bytes) {
  *data = nullptr;
  return bytes == 0 ? cudaSuccess : allocate(data, bytes, current_device);
}

cudaError_t cudaFree(void* data) {
  if (data == nullptr) return cudaSuccess;
  if (cuda_emulator::is_unsafe_in_capture()) return give(cudaErrorStreamCaptureUnsupported);
  const std::lock_guard<std::mutex> lock(mutex);
  make_pinned_copies();
  const auto block = blocks.find(static_cast<char*>(data));
  if (block == blocks.end()) return give(cudaErrorInvalidValue);
  char* begin = block->first;
  const size_t bytes = block->second.bytes;
  // Seen late, as on a device: the next launch or free reports it.
  if (!is_zone_intact(begin - cuda_emulator::kRedZone) || !is_zone_intact(begin + bytes))
    overrun_seen = true;
  if (block->second.device >= 0) used[block->second.device] -= bytes;
  blocks.erase(block);
  memset(begin, 0xff, bytes);
  free(begin - cuda_emulator::kRedZone);
  return overrun_seen ? give(cudaErrorIllegalAddress) : cudaSuccess;
}

// Kernels may write pinned memory, so it is recorded as well.
cudaError_t cudaMallocHost(void** data, size_t bytes) { return allocate(data, bytes, kPinned); }
cudaError_t cudaFreeHost(void* data) { return cudaFree(data); }

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  if (cuda_emulator::is_capturing()) {
    // What is copied is looked at by every launch: memory of the host must be pinned.
    const void* host = kind == cudaMemcpyHostToDevice   ? from
                       : kind == cudaMemcpyDeviceToHost ? to
                                                        : nullptr;
    const std::lock_guard<std::mutex> lock(mutex);
    if (host != nullptr && block_around(host, 0) == blocks.end()) {
      cuda_emulator::breaks_capture();
      return give(cudaErrorStreamCaptureUnsupported);
    }
    cuda_emulator::record([=] { return cudaMemcpyAsync(to, from, bytes, kind, stream); });
    return cudaSuccess;
  }
  {
    const std::lock_guard<std::mutex> lock(mutex);
    if (is_lost) return give(cudaErrorIllegalAddress);
    const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    if (bytes > 0 &&
        ((to_device && !is_inside(to, bytes)) || (from_device && !is_inside(from, bytes))))
      return give(cudaErrorInvalidValue);
    const auto source = block_around(from, 0);
    if (kind == cudaMemcpyHostToDevice && source != blocks.end() &&
        source->second.device == kPinned) {
      pinned_copies.push_back({to, from, bytes});
      return cudaSuccess;
    }
    make_pinned_copies();
  }
  memmove(to, from, bytes);
  return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* data, int value, size_t bytes, cudaStream_t stream) {
  if (cuda_emulator::is_capturing()) {
    cuda_emulator::record([=] { return cudaMemsetAsync(data, value, bytes, stream); });
    return cudaSuccess;
  }
  {
    const std::lock_guard<std::mutex> lock(mutex);
    if (bytes > 0 && !is_inside(data, bytes)) return give(cudaErrorInvalidValue);
    make_pinned_copies();
  }
  memset(data, value, bytes);
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = new CUstream_st;
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t) {
  if (cuda_emulator::breaks_capture()) return give(cudaErrorStreamCaptureUnsupported);
  const std::lock_guard<std::mutex> lock(mutex);
  make_pinned_copies();
  return is_lost ? give(cudaErrorIllegalAddress) : cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned) { return cudaSuccess; }
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new CUevent_st;
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t) {
  event->milliseconds = now_milliseconds();
  return cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t) {
  return cuda_emulator::is_unsafe_in_capture() ? give(cudaErrorStreamCaptureUnsupported)
                                               : cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t) { return cudaStreamSynchronize(nullptr); }
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end) {
  *milliseconds = static_cast<float>(end->milliseconds - begin->milliseconds);
  return cudaSuccess;
}

cudaError_t cudaGetLastError() {
  const cudaError_t error = last_error;
  last_error = cudaSuccess;
  return error;
}

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "cudaSuccess";
    case cudaErrorInvalidValue:
      return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorInvalidConfiguration:
      return "cudaErrorInvalidConfiguration";
    case cudaErrorInsufficientDriver:
      return "cudaErrorInsufficientDriver";
    case cudaErrorNoDevice:
      return "cudaErrorNoDevice";
    case cudaErrorInvalidDevice:
      return "cudaErrorInvalidDevice";
    case cudaErrorNotReady:
      return "cudaErrorNotReady";
    case cudaErrorIllegalAddress:
      return "cudaErrorIllegalAddress";
    case cudaErrorLaunchFailure:
      return "cudaErrorLaunchFailure";
    case cudaErrorNotSupported:
      return "cudaErrorNotSupported";
    case cudaErrorStreamCaptureUnsupported:
      return "cudaErrorStreamCaptureUnsupported";
    case cudaErrorStreamCaptureInvalidated:
      return "cudaErrorStreamCaptureInvalidated";
  }
  return "an unknown error";
}
const char* cudaGetErrorString(cudaError_t error) {
  if (error == cudaErrorLaunchFailure) return cuda_emulator::last_fault();
  if (error == cudaErrorIllegalAddress) return "device memory was written outside of its block";
  return cudaGetErrorName(error);
}

}  // extern "C"
