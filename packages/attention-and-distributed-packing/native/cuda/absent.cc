// In place of the kernels where nvcc was not found.
#include "ops/device_attention.h"

namespace fms_accel::ops {
namespace {

[[noreturn]] void refuse() {
  fail(
      "variableLengthAttention: this build has no CUDA kernels: install nvcc 12.8 or newer (on "
      "PATH, "
      "in CUDA_HOME, or by pip) and build again with `npm run build:native`");
}

}  // namespace

const char* cuda_build() { return "none"; }
void device_forward(const Engine&, const DeviceSequences&, const std::string&, const Attention&) {
  refuse();
}
void device_backward(const Engine&, const DeviceSequences&, const Attention&) { refuse(); }

}  // namespace fms_accel::ops
