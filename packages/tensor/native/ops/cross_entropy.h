#pragma once
#include "engine/tensor.h"

namespace fms_accel::ops {

struct CrossEntropyResult {
  Tensor losses;        // float32 [rows]; 0 where the label is ignored
  Tensor logsumexp;     // float32 [rows]
  int64_t counted = 0;  // rows whose label is not ignored, where asked for: a device is waited for
};

// logits [rows, classes], floating; labels [rows], an integer dtype. Throws Error for a label that
// is neither `ignore_index` nor in [0, classes), with its row.
CrossEntropyResult cross_entropy(const Tensor& logits, const Tensor& labels, int64_t ignore_index,
                                 bool counts);
// The gradient of the logits, in their dtype: (softmax - one hot) * scale * gradient, where
// `gradient` (float32) has one element or one for each row.
Tensor cross_entropy_gradient(const Tensor& logits, const Tensor& labels, const Tensor& logsumexp,
                              int64_t ignore_index, const Tensor& gradient, double scale);
// The losses [rows] of contiguous logits, in whose place comes the gradient of the losses' sum.
Tensor cross_entropy_in_place(const Tensor& logits, const Tensor& labels, int64_t ignore_index);

}  // namespace fms_accel::ops
