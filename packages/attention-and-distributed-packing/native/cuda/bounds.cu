#include "cuda/attention.h"
#include "cuda/queue.h"
#include "cuda/sequences.h"

namespace fms_accel::cuda {
namespace {

constexpr int kThreads = 256;
constexpr unsigned long long kNone = ~0ull;

// One block: the lowest position of a wrong value.
__global__ void __launch_bounds__(kThreads)
    find_wrong_bound(Bounds bounds, fms_accel_device_record* record) {
  SHARED(lowest, unsigned long long[1]);
  if (threadIdx.x == 0) lowest[0] = kNone;
  __syncthreads();
  const int32_t* values = bounds.cu_seqlens;
  for (int64_t s = threadIdx.x; s <= bounds.sequences; s += kThreads) {
    const bool is_right = (s == 0 ? values[s] == 0 : values[s] >= values[s - 1]) &&
                          (s < bounds.sequences || values[s] == bounds.tokens);
    if (is_right) continue;
    atomicMin(lowest, static_cast<unsigned long long>(s));
    break;
  }
  __syncthreads();
  if (threadIdx.x > 0 || lowest[0] == kNone) return;
  record->value = values[lowest[0]];
  record->position = lowest[0];
}

}  // namespace

void check_bounds(const Queue& queue, const Bounds& bounds, fms_accel_device_record* record) {
  queue.launch(find_wrong_bound, dim3(1), dim3(kThreads), 0, bounds, record);
}

}  // namespace fms_accel::cuda
