// The gated activation silu(gate) * up and both its gradients, a pass each: four neighbouring
// elements a thread where rows of every operand are read by vectors. Values are rounded where the
// composed operations store them.
#include "cuda/activations.h"
#include "cuda/elements.h"
#include "cuda/kernel_sources.h"

namespace fms_accel::cuda {
namespace {

constexpr int kThreads = 256;

// Operands of one dtype at the positions of a loop.
template <int Operands>
struct Gate {
  Walk<Operands> walk;
  void* data[Operands];
  DType dtype;
  int64_t numel;
};

template <int Run>
__device__ __forceinline__ void load_values(const void* data, DType dtype, int64_t i,
                                            float (&to)[Run]) {
  if constexpr (Run == 4) {
    load4<float>(data, dtype, i, to);
  } else {
    to[0] = load<float>(data, dtype, i);
  }
}
template <int Run>
__device__ __forceinline__ void store_values(void* data, DType dtype, int64_t i,
                                             const float (&from)[Run]) {
  if constexpr (Run == 4) {
    store4<float>(data, dtype, i, from);
  } else {
    store<float>(data, dtype, i, from[0]);
  }
}

// The first element of each run of this thread: body(offsets of the operands).
template <int Run, int Operands, class Body>
__device__ __forceinline__ void for_each_run(const Gate<Operands>& p, const Body& body) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads * Run;
  for (int64_t i = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * Run; i < p.numel;
       i += step) {
    int64_t at[Operands];
    p.walk.offsets(i, at);
    body(at);
  }
}

// Operands: out, gate, up.
template <int Run>
__global__ void __launch_bounds__(kThreads) gate_values(Gate<3> p) {
  for_each_run<Run>(p, [&](const int64_t(&at)[3]) {
    float x[Run], u[Run];
    load_values<Run>(p.data[1], p.dtype, at[1], x);
    load_values<Run>(p.data[2], p.dtype, at[2], u);
#pragma unroll
    for (int e = 0; e < Run; ++e) x[e] = rounded(p.dtype, silu_of(x[e])) * u[e];
    store_values<Run>(p.data[0], p.dtype, at[0], x);
  });
}

// Operands: the gradients of gate and up, gate, up, the gradient of the result.
template <int Run>
__global__ void __launch_bounds__(kThreads) gradients_of_gate(Gate<5> p) {
  for_each_run<Run>(p, [&](const int64_t(&at)[5]) {
    float x[Run], u[Run], g[Run], for_up[Run];
    load_values<Run>(p.data[2], p.dtype, at[2], x);
    load_values<Run>(p.data[3], p.dtype, at[3], u);
    load_values<Run>(p.data[4], p.dtype, at[4], g);
#pragma unroll
    for (int e = 0; e < Run; ++e) {
      for_up[e] = rounded(p.dtype, silu_of(x[e])) * g[e];
      x[e] = silu_gradient_of(x[e], rounded(p.dtype, __fmul_rn(g[e], u[e])));
    }
    store_values<Run>(p.data[0], p.dtype, at[0], x);
    store_values<Run>(p.data[1], p.dtype, at[1], for_up);
  });
}

// Whether four elements from every fourth position on lie behind each other, at addresses that
// load4 takes.
template <int Operands>
bool is_in_fours(const Loop& loop, const Gate<Operands>& p) {
  const int last = p.walk.ndim - 1;
  if (loop.ndim == 0 || loop.shape[last] % 4 != 0) return false;
  for (int k = 0; k < Operands; ++k) {
    if (reinterpret_cast<uintptr_t>(p.data[k]) % 16 != 0 || p.walk.strides[k][last] != 1)
      return false;
    for (int d = 0; d < last; ++d) {
      if (p.walk.strides[k][d] % 4 != 0) return false;
    }
  }
  return true;
}

template <int Operands>
void run(const Loop& loop, const Gate<Operands>& p, void (*by_fours)(Gate<Operands>),
         void (*by_ones)(Gate<Operands>)) {
  const bool in_fours = is_in_fours(loop, p);
  launch(in_fours ? by_fours : by_ones, grid_for(p.numel, kThreads * (in_fours ? 4 : 1)),
         dim3(kThreads), 0, p);
}

}  // namespace

void swiglu(const Loop& loop, const Operand& out, const Operand& gate, const Operand& up) {
  const Gate<3> p = {walk_of(loop, out.strides, gate.strides, up.strides),
                     {out.data, gate.data, up.data},
                     out.dtype,
                     loop.numel};
  run(loop, p, gate_values<4>, gate_values<1>);
}

void swiglu_gradient(const Loop& loop, const Operand& gate_gradient, const Operand& up_gradient,
                     const Operand& gate, const Operand& up, const Operand& gradient) {
  const Gate<5> p = {walk_of(loop, gate_gradient.strides, up_gradient.strides, gate.strides,
                             up.strides, gradient.strides),
                     {gate_gradient.data, up_gradient.data, gate.data, up.data, gradient.data},
                     gate.dtype,
                     loop.numel};
  run(loop, p, gradients_of_gate<4>, gradients_of_gate<1>);
}

}  // namespace fms_accel::cuda
