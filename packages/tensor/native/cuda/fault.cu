// A kernel that fails, for tests of what a fault becomes.
#include "cuda/device.h"
#include "cuda/gpu.h"

namespace fms_accel::cuda {
namespace {

__global__ void trap() { __trap(); }

}  // namespace

void provoke_fault(int index) {
  kernels(index);
  launch(trap, dim3(1), dim3(1), 0);
  synchronize(index);
}

}  // namespace fms_accel::cuda
