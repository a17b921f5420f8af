// Stands in for cuBLASLt in tests on the emulated device: its functions over memory of the host, so
// that the numbers of what was described to it can be compared. It refuses descriptions that
// cuBLASLt would refuse, and knows no way for products with 77 rows of the result.
#include <cstring>

#include "cuda/cublaslt_api.h"

namespace {

using namespace fms_accel::cublaslt;

constexpr Code kInvalidValue = 7, kNotSupported = 15;

struct Matmul {
  int32_t operations[2] = {kAsItIs, kAsItIs};
  uint32_t epilogue = 1;
  const void* bias = nullptr;
  int bias_type = kRealBFloat16;
};
struct Matrix {
  int type;
  int64_t rows, columns, stride;
  int32_t batch = 1;
  int64_t batch_stride = 0;
};

float read(const void* data, int type, int64_t i) {
  if (type == kReal32) return static_cast<const float*>(data)[i];
  if (type == kReal16) return static_cast<float>(static_cast<const _Float16*>(data)[i]);
  const uint32_t bits = static_cast<uint32_t>(static_cast<const uint16_t*>(data)[i]) << 16;
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}
void write(void* data, int type, int64_t i, float value) {
  if (type == kReal32) {
    static_cast<float*>(data)[i] = value;
    return;
  }
  if (type == kReal16) {
    static_cast<_Float16*>(data)[i] = static_cast<_Float16>(value);
    return;
  }
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  static_cast<uint16_t*>(data)[i] =
      static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

template <class T>
Code set(T& to, const void* value, size_t bytes) {
  if (bytes != sizeof(T)) return kInvalidValue;
  memcpy(&to, value, bytes);
  return 0;
}

bool fits(const Matmul& m, const Matrix& a, const Matrix& b, const Matrix& d) {
  const bool turns_a = m.operations[0] == kTransposed, turns_b = m.operations[1] == kTransposed;
  const int64_t k = turns_a ? a.rows : a.columns;
  return a.type == b.type && (d.type == a.type || d.type == kReal32) &&
         (m.epilogue != kEpilogueBias || m.bias_type == d.type) &&
         (turns_a ? a.columns : a.rows) == d.rows && (turns_b ? b.rows : b.columns) == d.columns &&
         (turns_b ? b.columns : b.rows) == k && a.stride >= a.rows && b.stride >= b.rows &&
         d.stride >= d.rows && a.batch == d.batch && b.batch == d.batch;
}

}  // namespace

extern "C" {

size_t cublasLtGetVersion() { return 130100; }
Code cublasLtCreate(Handle* handle) {
  *handle = new int;
  return 0;
}
Code cublasLtMatmulDescCreate(MatmulDescription* matmul, int compute_type, int scale_type) {
  if (compute_type != kCompute32 || scale_type != kReal32) return kNotSupported;
  *matmul = new Matmul;
  return 0;
}
Code cublasLtMatmulDescSetAttribute(MatmulDescription matmul, int attribute, const void* value,
                                    size_t bytes) {
  auto& own = *static_cast<Matmul*>(matmul);
  switch (attribute) {
    case kTransposeA:
      return set(own.operations[0], value, bytes);
    case kTransposeB:
      return set(own.operations[1], value, bytes);
    case kEpilogue:
      return set(own.epilogue, value, bytes);
    case kBiasPointer:
      return set(own.bias, value, bytes);
    case kBiasType:
      return set(own.bias_type, value, bytes);
    default:
      return kInvalidValue;
  }
}
Code cublasLtMatrixLayoutCreate(Layout* layout, int type, uint64_t rows, uint64_t columns,
                                int64_t stride) {
  *layout = new Matrix{type, static_cast<int64_t>(rows), static_cast<int64_t>(columns), stride};
  return 0;
}
Code cublasLtMatrixLayoutSetAttribute(Layout layout, int attribute, const void* value,
                                      size_t bytes) {
  auto& own = *static_cast<Matrix*>(layout);
  if (attribute == kBatchCount) return set(own.batch, value, bytes);
  return attribute == kBatchStride ? set(own.batch_stride, value, bytes) : kInvalidValue;
}
Code cublasLtMatmulPreferenceCreate(Preference* preference) {
  *preference = new int;
  return 0;
}
Code cublasLtMatmulPreferenceSetAttribute(Preference, int attribute, const void*, size_t bytes) {
  return bytes == (attribute == kMostWorkspace ? 8 : 4) ? 0 : kInvalidValue;
}
Code cublasLtMatmulPreferenceDestroy(Preference preference) {
  delete static_cast<int*>(preference);
  return 0;
}
Code cublasLtMatmulAlgoGetHeuristic(Handle, MatmulDescription matmul, Layout a, Layout b, Layout,
                                    Layout d, Preference, int wanted, Heuristic* results,
                                    int* found) {
  const auto& result = *static_cast<Matrix*>(d);
  *found = 0;
  if (!fits(*static_cast<Matmul*>(matmul), *static_cast<Matrix*>(a), *static_cast<Matrix*>(b),
            result))
    return kInvalidValue;
  if (wanted < 1 || result.columns == 77) return kNotSupported;
  results[0] = {};
  results[0].algorithm.data[0] = 42;
  results[0].workspace_bytes = 1 << 10;
  *found = 1;
  return 0;
}
Code cublasLtMatmul(Handle, MatmulDescription matmul, const void* alpha, const void* a,
                    Layout a_layout, const void* b, Layout b_layout, const void* beta,
                    const void* c, Layout, void* d, Layout d_layout, const Algorithm* algorithm,
                    void* workspace, size_t workspace_bytes, void*) {
  const auto& m = *static_cast<Matmul*>(matmul);
  const auto &x = *static_cast<Matrix*>(a_layout), &y = *static_cast<Matrix*>(b_layout),
             &z = *static_cast<Matrix*>(d_layout);
  if (!fits(m, x, y, z) || algorithm->data[0] != 42 || workspace_bytes < 1 << 10)
    return kInvalidValue;
  memset(workspace, 0, workspace_bytes);
  const bool turns_a = m.operations[0] == kTransposed, turns_b = m.operations[1] == kTransposed;
  const int64_t k = turns_a ? x.rows : x.columns;
  const float factor = *static_cast<const float*>(alpha), keep = *static_cast<const float*>(beta);
  for (int64_t batch = 0; batch < z.batch; ++batch) {
    const int64_t in_a = batch * x.batch_stride, in_b = batch * y.batch_stride,
                  in_d = batch * z.batch_stride;
    for (int64_t column = 0; column < z.columns; ++column) {
      for (int64_t row = 0; row < z.rows; ++row) {
        double sum = 0;
        for (int64_t l = 0; l < k; ++l) {
          sum +=
              double{read(a, x.type, in_a + (turns_a ? row * x.stride + l : l * x.stride + row))} *
              read(b, y.type, in_b + (turns_b ? l * y.stride + column : column * y.stride + l));
        }
        const int64_t at = in_d + column * z.stride + row;
        float value = factor * static_cast<float>(sum);
        if (keep != 0.0f) value += keep * read(c, z.type, at);
        if (m.epilogue == kEpilogueBias) value += read(m.bias, m.bias_type, row);
        write(d, z.type, at, value);
      }
    }
  }
  return 0;
}

}  // extern "C"
