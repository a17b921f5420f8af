#include "cuda/cublaslt.h"

#include <dlfcn.h>

#include <array>
#include <cstdlib>
#include <map>
#include <mutex>
#include <vector>

#include "cuda/cublaslt_api.h"
#include "cuda/device.h"
#include "cuda/stream.h"
#include "engine/error.h"

namespace fms_accel::cuda {
namespace {

using namespace cublaslt;

constexpr uint64_t kMostWorkspaceBytes = uint64_t{32} << 20;

struct Library {
  Functions call{};
  std::string description;
  bool is_open = false;
};

// Names that are tried in turn. An emulated device has no cuBLASLt but one that is named.
std::vector<std::string> names() {
  const char* chosen = std::getenv("FMS_ACCEL_CUBLASLT");
  if (chosen != nullptr && *chosen != 0)
    return std::string(chosen) == "0" ? std::vector<std::string>{}
                                      : std::vector<std::string>{chosen};
#if defined(FMS_ACCEL_CUDA_TOOLKIT)
  return {"libcublasLt.so.13", "libcublasLt.so.12"};
#else
  return {};
#endif
}

Library open_library() {
  Library library;
  void* opened = nullptr;
  std::string found, tried;
  for (const std::string& name : names()) {
    opened = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
    tried += (tried.empty() ? "" : ", ") + name;
    if (opened == nullptr) continue;
    found = name;
    break;
  }
  if (opened == nullptr) {
    library.description = tried.empty() ? "not used"
                                        : "not found (" + tried +
                                              "): own kernels multiply; put the folder of CUDA's "
                                              "libraries into LD_LIBRARY_PATH";
    return library;
  }
  const auto load = [&](const char* name, auto& function) {
    function = reinterpret_cast<std::decay_t<decltype(function)>>(dlsym(opened, name));
    return function != nullptr;
  };
  Functions& call = library.call;
  library.is_open =
      load("cublasLtGetVersion", call.version) && load("cublasLtCreate", call.create) &&
      load("cublasLtMatmulDescCreate", call.create_matmul) &&
      load("cublasLtMatmulDescSetAttribute", call.set_matmul) &&
      load("cublasLtMatrixLayoutCreate", call.create_layout) &&
      load("cublasLtMatrixLayoutSetAttribute", call.set_layout) &&
      load("cublasLtMatmulPreferenceCreate", call.create_preference) &&
      load("cublasLtMatmulPreferenceSetAttribute", call.set_preference) &&
      load("cublasLtMatmulPreferenceDestroy", call.destroy_preference) &&
      load("cublasLtMatmulAlgoGetHeuristic", call.heuristic) && load("cublasLtMatmul", call.matmul);
  if (!library.is_open) {
    library.description = found + " lacks functions of cuBLASLt: own kernels multiply";
    return library;
  }
  // 130100 is 13.1.0.
  const size_t version = call.version();
  library.description = std::to_string(version / 10000) + "." +
                        std::to_string(version / 100 % 100) + "." + std::to_string(version % 100) +
                        " (" + found + ")";
  return library;
}

const Library& library() {
  static const auto* opened = new Library(open_library());
  return *opened;
}

void require_success(const char* what, Code status) {
  if (status != 0)
    throw DeviceError("cuBLASLt: " + std::string(what) + " failed with status " +
                      std::to_string(status) + " (FMS_ACCEL_CUBLASLT=0 does without it)");
}

// One operand by columns, as cuBLASLt sees it: the product is computed as C^T = B^T · A^T.
struct Columns {
  bool fits = false;
  int32_t operation = kAsItIs;
  uint64_t rows = 0, columns = 0;
  int64_t stride = 0;
};
// `across` is the side of the result that the operand spans, `along` is k.
Columns columns_of(int64_t across, int64_t along, int64_t across_stride, int64_t along_stride,
                   bool is_left) {
  Columns x;
  // The left factor is [across, along], the right one [along, across].
  const bool across_first = across_stride == 1 && along_stride >= across;
  const bool along_first = along_stride == 1 && across_stride >= along;
  x.fits = across_first || along_first;
  if (across_first) {
    x.rows = static_cast<uint64_t>(across), x.columns = static_cast<uint64_t>(along);
    x.stride = along_stride;
  } else {
    x.rows = static_cast<uint64_t>(along), x.columns = static_cast<uint64_t>(across);
    x.stride = across_stride;
  }
  x.operation = across_first == is_left ? kAsItIs : kTransposed;
  return x;
}

int type_of(DType dtype) {
  return dtype == DType::kFloat32 ? kReal32 : dtype == DType::kFloat16 ? kReal16 : kRealBFloat16;
}

uint32_t alignment_of(const void* data) {
  const auto address = reinterpret_cast<uintptr_t>(data);
  uint32_t alignment = 256;
  while (address % alignment != 0) alignment /= 2;
  return alignment;
}

struct Plan {
  bool is_known = false;  // cuBLASLt has a way
  MatmulDescription matmul = nullptr;
  Layout a = nullptr, b = nullptr, c = nullptr;
  Algorithm algorithm{};
  size_t workspace_bytes = 0;
};
using Key = std::array<int64_t, 18>;

struct PerDevice {
  Handle handle = nullptr;
  std::map<Key, Plan> plans;
};
std::mutex mutex;

PerDevice& of_device(int device) {
  static auto* devices = new std::map<int, PerDevice>;
  PerDevice& own = (*devices)[device];
  if (own.handle == nullptr) require_success("cublasLtCreate", library().call.create(&own.handle));
  return own;
}

Layout layout_of(const Columns& x, int type, int64_t batch, int64_t batch_stride) {
  const Functions& call = library().call;
  Layout layout = nullptr;
  require_success("a layout", call.create_layout(&layout, type, x.rows, x.columns, x.stride));
  const auto count = static_cast<int32_t>(batch);
  if (batch > 1) {
    require_success("a batch", call.set_layout(layout, kBatchCount, &count, sizeof count));
    require_success("a batch",
                    call.set_layout(layout, kBatchStride, &batch_stride, sizeof batch_stride));
  }
  return layout;
}

Plan make_plan(const Product& p, const Columns& left, const Columns& right, const Columns& result,
               Handle handle) {
  const Functions& call = library().call;
  Plan plan;
  require_success("a description", call.create_matmul(&plan.matmul, kCompute32, kReal32));
  const auto set = [&](int attribute, const auto& value) {
    require_success("an attribute", call.set_matmul(plan.matmul, attribute, &value, sizeof value));
  };
  set(kTransposeA, left.operation);
  set(kTransposeB, right.operation);
  const int type = type_of(p.a.dtype), c_type = type_of(p.c.dtype);
  if (p.bias != nullptr) {
    set(kEpilogue, kEpilogueBias);
    set(kBiasPointer, p.bias);
    set(kBiasType, c_type);
  }
  plan.a = layout_of(left, type, p.inner, p.b.inner_stride);
  plan.b = layout_of(right, type, p.inner, p.a.inner_stride);
  plan.c = layout_of(result, c_type, p.inner, p.c.inner_stride);
  Preference preference = nullptr;
  require_success("a preference", call.create_preference(&preference));
  const auto prefer = [&](int attribute, const auto& value) {
    require_success("a preference",
                    call.set_preference(preference, attribute, &value, sizeof value));
  };
  prefer(kMostWorkspace, kMostWorkspaceBytes);
  const void* operands[] = {p.b.data, p.a.data, p.c.data, p.c.data};
  for (int i = 0; i < 4; ++i) prefer(kAlignmentOfA + i, alignment_of(operands[i]));
  Heuristic best{};
  int found = 0;
  const Code status = call.heuristic(handle, plan.matmul, plan.a, plan.b, plan.c, plan.c,
                                     preference, 1, &best, &found);
  require_success("a preference", call.destroy_preference(preference));
  plan.is_known = status == 0 && found > 0 && best.state == 0;
  plan.algorithm = best.algorithm;
  plan.workspace_bytes = best.workspace_bytes;
  return plan;
}

// Operands of one dtype that the product does not round first: their products are exact in float32,
// or the multiply-adds of float32 itself (no TF32).
bool is_its_kind(const Product& p) {
  const bool is_exact =
      p.a.dtype == p.b.dtype &&
      (p.a.dtype == DType::kBFloat16 || (p.compute == Compute::kFloat32 && is_floating(p.a.dtype)));
  return is_exact && (p.c.dtype == p.a.dtype || p.c.dtype == DType::kFloat32) && p.tail_k == 0 &&
         p.outer == 1 && p.k > 0 && (p.bias == nullptr || p.bias_dtype == p.c.dtype) &&
         p.c.column_stride == 1 && p.c.row_stride >= p.n && p.inner <= INT32_MAX;
}

// Where `runs` is false, only whether it could be.
bool multiply_untailed(const Product& p, bool runs) {
  if (!is_its_kind(p)) return false;
  const Columns left = columns_of(p.n, p.k, p.b.column_stride, p.b.row_stride, true),
                right = columns_of(p.m, p.k, p.a.row_stride, p.a.column_stride, false);
  if (!left.fits || !right.fits) return false;
  Columns result;
  result.rows = static_cast<uint64_t>(p.n), result.columns = static_cast<uint64_t>(p.m);
  result.stride = p.c.row_stride;

  const Key key = {p.m,
                   p.n,
                   p.k,
                   p.inner,
                   left.operation,
                   left.stride,
                   right.operation,
                   right.stride,
                   result.stride,
                   p.a.inner_stride,
                   p.b.inner_stride,
                   p.c.inner_stride,
                   type_of(p.a.dtype) * 100 + type_of(p.c.dtype),
                   (p.bias != nullptr) * 2 + (p.beta != 0.0f),
                   alignment_of(p.a.data),
                   alignment_of(p.b.data),
                   alignment_of(p.c.data),
                   alignment_of(p.bias)};
  const std::lock_guard<std::mutex> lock(mutex);
  PerDevice& device = of_device(current_device());
  auto found = device.plans.find(key);
  if (found == device.plans.end())
    found = device.plans.emplace(key, make_plan(p, left, right, result, device.handle)).first;
  const Plan& plan = found->second;
  if (!plan.is_known || !runs) return plan.is_known;
  const Functions& call = library().call;
  if (p.bias != nullptr)
    require_success("a bias", call.set_matmul(plan.matmul, kBiasPointer, &p.bias, sizeof p.bias));
#if !defined(FMS_ACCEL_CUDA_TOOLKIT)
  // What stands in for it has no stream: it could not be recorded.
  if (is_capturing()) return false;
  require(cudaStreamSynchronize(current_stream()));
#endif
  const Scratch workspace(plan.workspace_bytes);
  require_success(
      "cublasLtMatmul",
      call.matmul(device.handle, plan.matmul, &p.alpha, p.b.data, plan.a, p.a.data, plan.b, &p.beta,
                  p.c.data, plan.c, const_cast<void*>(p.c.data), plan.c, &plan.algorithm,
                  workspace.as<void>(), plan.workspace_bytes, current_stream()));
  count_library_product();
  return true;
}

}  // namespace

std::string cublaslt_description() { return library().description; }

bool multiply_by_cublaslt(const Product& p) {
  if (!library().is_open) return false;
  if (p.tail_k == 0) return multiply_untailed(p, true);
  Product whole = p;
  whole.tail_k = 0;
  whole.beta = 1;
  if (!multiply_untailed(whole, false)) return false;
  // The tail first: what is small is rounded to C's dtype in between, and the sum only once.
  Product tail = p;
  tail.a = p.a_tail;
  tail.b = p.b_tail;
  tail.k = p.tail_k;
  tail.tail_k = 0;
  tail.bias = nullptr;
  multiply(tail);
  return multiply_untailed(whole, true);
}

}  // namespace fms_accel::cuda
