#include "cpu/isa.h"

#include <cstdlib>
#include <cstring>

#include "cpu/dry_run.h"
#include "engine/error.h"

namespace fms_accel {

#define FMS_ACCEL_DECLARE(name)  \
  namespace name {               \
  extern const Kernels kKernels; \
  }
FMS_ACCEL_DECLARE(portable)
#ifdef FMS_ACCEL_HAS_AVX2
FMS_ACCEL_DECLARE(avx2)
FMS_ACCEL_DECLARE(avx512)
FMS_ACCEL_DECLARE(avx512_bf16)
#endif
#undef FMS_ACCEL_DECLARE

namespace {

struct Isa {
  const char* name;
  const Kernels* kernels;
  bool available;
};

// Best first.
const std::vector<Isa>& isas() {
  static const std::vector<Isa>* list = [] {
    auto* result = new std::vector<Isa>;
#ifdef FMS_ACCEL_HAS_AVX2
    __builtin_cpu_init();
    const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                          __builtin_cpu_supports("f16c");
    const bool has_avx512 =
        has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    result->push_back({"avx512_bf16", &avx512_bf16::kKernels,
                       has_avx512 && __builtin_cpu_supports("avx512bf16")});
    result->push_back({"avx512", &avx512::kKernels, has_avx512});
    result->push_back({"avx2", &avx2::kKernels, has_avx2});
#endif
    result->push_back({"portable", &portable::kKernels, true});
    return result;
  }();
  return *list;
}

const Isa& chosen() {
  static const Isa* const isa = []() -> const Isa* {
    const char* wanted = std::getenv("FMS_ACCEL_ISA");
    std::string names;
    for (const Isa& candidate : isas()) {
      if (!candidate.available) continue;
      names += (names.empty() ? "" : ", ") + std::string(candidate.name);
      if (wanted == nullptr || *wanted == 0 || strcmp(wanted, candidate.name) == 0)
        return &candidate;
    }
    fail("FMS_ACCEL_ISA=", wanted, ": not available on this machine; choose one of ", names,
         ", or unset it");
  }();
  return *isa;
}

}  // namespace

const Kernels& cpu_kernels() {
  const Kernels& real = *chosen().kernels;
  return is_dry_run() ? dry_kernels(real) : real;
}
const char* cpu_isa() { return chosen().name; }

std::vector<std::string> available_isas() {
  std::vector<std::string> names;
  for (const Isa& isa : isas()) {
    if (isa.available) names.emplace_back(isa.name);
  }
  return names;
}

}  // namespace fms_accel
