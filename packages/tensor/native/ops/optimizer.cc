#include "ops/optimizer.h"

#include <cmath>

#include "engine/error.h"
#include "ops/iteration.h"

namespace fms_accel::ops {
namespace {

FlatTensor flat(const char* op, const Tensor& tensor) {
  check(is_floating(tensor.dtype), op, ": expected floating tensors, found ",
        name_of(tensor.dtype));
  return {tensor.raw(), tensor.dtype, tensor.numel()};
}

void check_in_place(const char* op, const Tensor& tensor) {
  check_writable(op, tensor);
  check(tensor.is_contiguous(), op, ": a tensor of shape ", shape_of(tensor), " is not contiguous");
}

}  // namespace

double global_norm(const std::vector<Tensor>& tensors) {
  std::vector<Tensor> dense;
  std::vector<FlatTensor> list;
  for (const Tensor& tensor : tensors) {
    check_same_device("globalNorm", {&tensors[0], &tensor});
    check(is_floating(tensor.dtype), "globalNorm: expected floating tensors, found ",
          name_of(tensor.dtype));
    dense.push_back(contiguous(tensor));
    list.push_back(flat("globalNorm", dense.back()));
  }
  if (list.empty()) return 0;
  return std::sqrt(
      kernels_of(tensors[0]).sum_of_squares(list.data(), static_cast<int64_t>(list.size())));
}

bool scale(const std::vector<Tensor>& tensors, double factor, bool asks) {
  std::vector<FlatTensor> list;
  for (const Tensor& tensor : tensors) {
    check_same_device("scale", {&tensors[0], &tensor});
    check_in_place("scale", tensor);
    list.push_back(flat("scale", tensor));
  }
  if (list.empty()) return true;
  return kernels_of(tensors[0])
      .scale(list.data(), static_cast<int64_t>(list.size()), static_cast<float>(factor), asks);
}

void adamw(const std::vector<Tensor>& parameters, const std::vector<Tensor>& gradients,
           const std::vector<Tensor>& exp_avgs, const std::vector<Tensor>& exp_avg_sqs,
           const AdamWOptions& options) {
  const size_t count = parameters.size();
  check(gradients.size() == count && exp_avgs.size() == count && exp_avg_sqs.size() == count &&
            options.learning_rates.size() == count && options.weight_decays.size() == count &&
            options.steps.size() == count,
        "adamw: the lists have different lengths");
  if (count == 0) return;
  std::vector<AdamWTensor> list(count);
  for (size_t i = 0; i < count; ++i) {
    const Tensor& parameter = parameters[i];
    check_same_device("adamw",
                      {&parameters[0], &parameter, &gradients[i], &exp_avgs[i], &exp_avg_sqs[i]});
    check_in_place("adamw", parameter);
    for (const Tensor* other : {&gradients[i], &exp_avgs[i], &exp_avg_sqs[i]}) {
      check(other->sizes() == parameter.sizes() && other->is_contiguous(), "adamw: parameter ", i,
            " has shape ", shape_of(parameter), ", its gradient or state ", shape_of(*other));
    }
    for (const Tensor* state : {&exp_avgs[i], &exp_avg_sqs[i]}) {
      check(state->dtype == DType::kFloat32, "adamw: the state must be float32, found ",
            name_of(state->dtype));
      check_writable("adamw", *state);
    }
    check(options.steps[i] >= 1, "adamw: step ", options.steps[i], " of parameter ", i,
          " is below 1");
    const double learning_rate = options.learning_rates[i];
    list[i].parameter = flat("adamw", parameter);
    list[i].gradient = flat("adamw", gradients[i]);
    list[i].exp_avg = exp_avgs[i].data<float>();
    list[i].exp_avg_sq = exp_avg_sqs[i].data<float>();
    list[i].decay = static_cast<float>(1 - learning_rate * options.weight_decays[i]);
    list[i].step_size =
        static_cast<float>(learning_rate / (1 - std::pow(options.beta1, options.steps[i])));
    list[i].correction =
        static_cast<float>(std::sqrt(1 - std::pow(options.beta2, options.steps[i])));
  }
  kernels_of(parameters[0])
      .adamw(list.data(), static_cast<int64_t>(count), options.beta1, options.beta2,
             static_cast<float>(options.eps));
}

}  // namespace fms_accel::ops
