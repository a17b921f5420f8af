// The part of cuBLASLt's C interface that is used, declared here because its header belongs to no
// package that a build needs. Numbers are those of cublasLt.h, the same since CUDA 11.8.
#pragma once
#include <cstddef>
#include <cstdint>

namespace fms_accel::cublaslt {

using Code = int;  // cublasStatus_t; 0 is success
using Handle = void*;
using MatmulDescription = void*;
using Layout = void*;
using Preference = void*;

constexpr int kReal32 = 0, kReal16 = 2, kRealBFloat16 = 14;  // cudaDataType
constexpr int kCompute32 = 68;                               // CUBLAS_COMPUTE_32F
constexpr int kTransposeA = 3, kTransposeB = 4, kEpilogue = 7, kBiasPointer = 8, kBiasType = 26;
constexpr uint32_t kEpilogueBias = 4;
constexpr int kBatchCount = 5, kBatchStride = 6;      // of a layout
constexpr int kMostWorkspace = 1, kAlignmentOfA = 5;  // of a preference; B, C, D follow A
constexpr int32_t kAsItIs = 0, kTransposed = 1;       // cublasOperation_t

struct Algorithm {
  uint64_t data[8];
};
struct Heuristic {
  Algorithm algorithm;
  size_t workspace_bytes;
  Code state;
  float waves;
  int reserved[4];
};

struct Functions {
  size_t (*version)();
  Code (*create)(Handle*);
  Code (*create_matmul)(MatmulDescription*, int compute_type, int scale_type);
  Code (*set_matmul)(MatmulDescription, int attribute, const void* value, size_t bytes);
  Code (*create_layout)(Layout*, int type, uint64_t rows, uint64_t columns, int64_t stride);
  Code (*set_layout)(Layout, int attribute, const void* value, size_t bytes);
  Code (*create_preference)(Preference*);
  Code (*set_preference)(Preference, int attribute, const void* value, size_t bytes);
  Code (*destroy_preference)(Preference);
  Code (*heuristic)(Handle, MatmulDescription, Layout a, Layout b, Layout c, Layout d, Preference,
                    int wanted, Heuristic* results, int* found);
  Code (*matmul)(Handle, MatmulDescription, const void* alpha, const void* a, Layout, const void* b,
                 Layout, const void* beta, const void* c, Layout, void* d, Layout, const Algorithm*,
                 void* workspace, size_t workspace_bytes, void* stream);
};

}  // namespace fms_accel::cublaslt
