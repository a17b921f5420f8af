// The GEMM of every instruction set that was built, for tests and benchmarks that compare them in
// one process.
#pragma once
#include <vector>

#include "cpu/gemm.h"

namespace fms_accel {

#define FMS_ACCEL_DECLARE(name)          \
  namespace name {                       \
  extern const GemmKernels kGemmKernels; \
  }
FMS_ACCEL_DECLARE(portable)
#ifdef FMS_ACCEL_HAS_AVX2
FMS_ACCEL_DECLARE(avx2)
FMS_ACCEL_DECLARE(avx512)
FMS_ACCEL_DECLARE(avx512_bf16)
#endif
#undef FMS_ACCEL_DECLARE

struct GemmTable {
  const char* isa;
  const GemmKernels* kernels;
  bool available;
};

// Best first.
inline std::vector<GemmTable> gemm_tables() {
  std::vector<GemmTable> tables;
#ifdef FMS_ACCEL_HAS_AVX2
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("f16c");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl");
  tables.push_back(
      {"avx512_bf16", &avx512_bf16::kGemmKernels, avx512 && __builtin_cpu_supports("avx512bf16")});
  tables.push_back({"avx512", &avx512::kGemmKernels, avx512});
  tables.push_back({"avx2", &avx2::kGemmKernels, avx2});
#endif
  tables.push_back({"portable", &portable::kGemmKernels, true});
  return tables;
}

}  // namespace fms_accel
