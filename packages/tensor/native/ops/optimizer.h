#pragma once
#include "engine/tensor.h"

namespace fms_accel::ops {

// The Euclidean norm of all elements of floating tensors together, accumulated in float64 in a
// fixed order.
double global_norm(const std::vector<Tensor>& tensors);
// Every element times `factor`, in place. Whether all were finite before; true where nobody `asks`.
bool scale(const std::vector<Tensor>& tensors, double factor, bool asks);

// Scales gradients, in place, by max_norm / (norm + 1e-6) where that is below 1. Returns, on their
// device, float32 [2]: the norm before, and 1 where it and all of `values` (float32) are finite,
// else 0. No value comes to the host.
Tensor clip(const std::vector<Tensor>& gradients, double max_norm, const Tensor& values);

struct AdamWOptions {
  std::vector<double> learning_rates, weight_decays,
      steps;  // of each parameter; steps counted from 1
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
};
// One step of torch.optim.AdamW (Loshchilov and Hutter, 2019) for every parameter, in place.
// Contiguous floating parameters and gradients, contiguous float32 state, all of one shape for a
// parameter. Does nothing where `outcome`, of `clip`, says that something was not finite. With
// `numbers` [parameters, 3] the step takes what adamw_numbers gave from there.
void adamw(const std::vector<Tensor>& parameters, const std::vector<Tensor>& gradients,
           const std::vector<Tensor>& exp_avgs, const std::vector<Tensor>& exp_avg_sqs,
           const AdamWOptions& options, const Tensor* outcome, const Tensor* numbers);
// What a step takes from rates and counts: float32 [parameters, 3] on the CPU.
Tensor adamw_numbers(const AdamWOptions& options);

}  // namespace fms_accel::ops
