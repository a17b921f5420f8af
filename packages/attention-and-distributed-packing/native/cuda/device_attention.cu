#include "cuda/attention.h"
#include "cuda/queue.h"
#include "cuda/sequences.h"
#include "ops/device_attention.h"

namespace fms_accel::ops {
namespace {

cuda::Bounds bounds_of(const DeviceSequences& s) { return {s.cu_seqlens, s.sequences, s.tokens}; }

}  // namespace

const char* cuda_build() {
#if defined(__CUDACC__)
  return "cuda";
#else
  return "emulator";
#endif
}

void device_forward(const Engine& engine, const DeviceSequences& sequences,
                    const std::string& message, const Attention& a) {
  const cuda::Queue queue(engine, sequences.device);
  const cuda::Bounds bounds = bounds_of(sequences);
  if (bounds.tokens > 0 && bounds.sequences > 0) cuda::forward(queue, a, bounds);
  // Behind it: where each launch is waited for, the kernels must bear wrong bounds as well.
  cuda::check_bounds(queue, bounds, engine.device_record(sequences.device, message));
}

void device_backward(const Engine& engine, const DeviceSequences& sequences, const Attention& a) {
  const cuda::Queue queue(engine, sequences.device);
  const cuda::Bounds bounds = bounds_of(sequences);
  if (bounds.tokens == 0 || bounds.sequences == 0) return;
  cuda::query_gradients(queue, a, bounds);
  cuda::key_gradients(queue, a, bounds);
}

}  // namespace fms_accel::ops
