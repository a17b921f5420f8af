// The device's language for kernels of the engine and of plugins. Under nvcc it is CUDA; under a
// host compiler it is the emulator (packages-private/cuda-emulator). Kernel sources keep to four
// habits:
//   launch_on(stream, kernel, grid, block, shared bytes, arguments...)  in place of <<<...>>>
//   DYNAMIC_SHARED(T, name)      in place of extern __shared__ T name[]
//   SHARED(name, float[32])      in place of __shared__ float name[32]
//   PTX only in tensor_core.h
#pragma once
#include <cstddef>
#include <cstdint>

#if defined(__CUDACC__)
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#else
#include "cuda_emulator/device.h"
#endif

namespace fms_accel::cuda {

template <class T>
struct SharedType {
  using type = T;
};

#if defined(__CUDACC__)

#define SHARED(name, ...) __shared__ typename ::fms_accel::cuda::SharedType<__VA_ARGS__>::type name
#define DYNAMIC_SHARED(T, name)                                    \
  extern __shared__ __align__(128) unsigned char dynamic_shared[]; \
  T* const name = reinterpret_cast<T*>(dynamic_shared)

template <class... P, class... A>
cudaError_t launch_on(cudaStream_t stream, void (*kernel)(P...), dim3 grid, dim3 block,
                      size_t shared_bytes, A... arguments) {
  if (shared_bytes > 48 * 1024) {
    const cudaError_t status = cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                                    cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                    static_cast<int>(shared_bytes));
    if (status != cudaSuccess) return status;
  }
  cudaLaunchConfig_t configuration{};
  configuration.gridDim = grid;
  configuration.blockDim = block;
  configuration.dynamicSmemBytes = shared_bytes;
  configuration.stream = stream;
  return cudaLaunchKernelEx(&configuration, kernel, static_cast<P>(arguments)...);
}

#else

// One slot of the block's shared memory for each place (and template instance).
#define SHARED(name, ...)                                                                \
  static const size_t name##_slot = ::cuda_emulator::shared_slot(sizeof(__VA_ARGS__));   \
  auto& name = *static_cast<typename ::fms_accel::cuda::SharedType<__VA_ARGS__>::type*>( \
      ::cuda_emulator::static_shared_memory(name##_slot))
#define DYNAMIC_SHARED(T, name) \
  T* const name = static_cast<T*>(::cuda_emulator::dynamic_shared_memory())

template <class... P, class... A>
cudaError_t launch_on(cudaStream_t, void (*kernel)(P...), dim3 grid, dim3 block,
                      size_t shared_bytes, A... arguments) {
  return ::cuda_emulator::launch(grid, block, shared_bytes,
                                 [=] { kernel(static_cast<P>(arguments)...); });
}

#endif

__device__ __forceinline__ float infinity() { return __uint_as_float(0x7f800000u); }
__device__ __forceinline__ float not_a_number() { return __uint_as_float(0x7fc00000u); }

constexpr unsigned kWarp = 32;
constexpr unsigned kFullMask = 0xffffffffu;

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t min_of(int64_t a, int64_t b) { return a < b ? a : b; }
constexpr int64_t max_of(int64_t a, int64_t b) { return a > b ? a : b; }

// A grid of at least one block for each of `items`; kernels stride over what lies beyond.
inline dim3 grid_for(int64_t items, int64_t per_block, int64_t most = 1 << 20) {
  return dim3(static_cast<unsigned>(max_of(1, min_of(ceil_div(items, per_block), most))));
}

}  // namespace fms_accel::cuda
