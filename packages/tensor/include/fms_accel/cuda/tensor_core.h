// Tensor-core operations of a warp: PTX on the device, an exchange between lanes in emulation
// (cuda_emulator/tensor_core.h). Kernels call these and write no PTX of their own.
//
// Fragments of mma.m16n8k16 (PTX ISA, 9.7.14), with g = lane / 4 and t = lane % 4:
//   A 16x16: a0 (g, 2t) a1 (g+8, 2t) a2 (g, 2t+8) a3 (g+8, 2t+8), two columns each
//   B 16x8:  b0 (2t, g) b1 (2t+8, g), two rows each
//   D 16x8:  d0 d1 (g, 2t), d2 d3 (g+8, 2t)
#pragma once
#include "fms_accel/cuda/gpu.h"

#if defined(__CUDACC__)

namespace fms_accel::cuda {

__device__ __forceinline__ unsigned shared_address(const void* data) {
  return static_cast<unsigned>(__cvta_generic_to_shared(data));
}

// Four 8x8 matrices of 16-bit elements; lane l gives the address of row l % 8 of matrix l / 8.
__device__ __forceinline__ void ldmatrix_x4(uint32_t (&to)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(shared_address(row))
               : "memory");
}
// The same, each matrix transposed.
__device__ __forceinline__ void ldmatrix_x4_transposed(uint32_t (&to)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(shared_address(row))
               : "memory");
}
// d += a * b, bfloat16 operands, float32 sums.
__device__ __forceinline__ void mma_bf16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0,
                                         uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
      "{%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
// The same with float16 operands.
__device__ __forceinline__ void mma_f16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0,
                                        uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
      "{%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// 16 bytes of shared memory: the first `bytes` from device memory and zeros behind them. Copies of
// a thread make groups, closed by copy_async_commit; they are there after the thread waited for
// their group and a barrier.
__device__ __forceinline__ void copy_async_up_to_16(void* to, const void* from, int bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
               :
               : "r"(shared_address(to)), "l"(__cvta_generic_to_global(from)), "r"(bytes)
               : "memory");
}
__device__ __forceinline__ void copy_async_16(void* to, const void* from, bool is_inside) {
  copy_async_up_to_16(to, from, is_inside ? 16 : 0);
}
__device__ __forceinline__ void copy_async_commit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
// For all groups of the thread but the last `GroupsLeft`.
template <int GroupsLeft>
__device__ __forceinline__ void copy_async_wait() {
  asm volatile("cp.async.wait_group %0;" : : "n"(GroupsLeft) : "memory");
}
__device__ __forceinline__ void copy_async_wait_all() { copy_async_wait<0>(); }

}  // namespace fms_accel::cuda

#else

#include "cuda_emulator/tensor_core.h"

namespace fms_accel::cuda {
using ::cuda_emulator::copy_async_16;
using ::cuda_emulator::copy_async_commit;
using ::cuda_emulator::copy_async_up_to_16;
using ::cuda_emulator::copy_async_wait;
using ::cuda_emulator::copy_async_wait_all;
using ::cuda_emulator::ldmatrix_x4;
using ::cuda_emulator::ldmatrix_x4_transposed;
using ::cuda_emulator::mma_bf16;
using ::cuda_emulator::mma_f16;
}  // namespace fms_accel::cuda

#endif
