// Products by cuBLASLt, which is opened when the first product could use it: nothing is linked, and
// where it is missing the device's own kernels multiply (matmul.cu).
//
// FMS_ACCEL_CUBLASLT: a file to open instead of libcublasLt.so.13 or .12; 0 opens none.
#pragma once
#include <string>

#include "cuda/product.h"

namespace fms_accel::cuda {

// Its version, or why it is not used.
std::string cublaslt_description();

// False where the product is not of its kind, or where it knows no way: operands of one dtype with
// one contiguous direction and one batch stride. A low-rank tail is a product of its own (by the
// device's kernels where its operands are of another kind), to which the rest is added.
bool multiply_by_cublaslt(const Product& product);

}  // namespace fms_accel::cuda
