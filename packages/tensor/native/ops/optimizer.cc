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

void check_lengths(const AdamWOptions& options, size_t count) {
  check(options.learning_rates.size() == count && options.weight_decays.size() == count &&
            options.steps.size() == count,
        "adamw: the lists have different lengths");
  for (size_t i = 0; i < count; ++i) {
    check(options.steps[i] >= 1, "adamw: step ", options.steps[i], " of parameter ", i,
          " is below 1");
  }
}

void set_numbers(const AdamWOptions& options, size_t i, AdamWTensor& tensor) {
  const double learning_rate = options.learning_rates[i];
  tensor.decay = static_cast<float>(1 - learning_rate * options.weight_decays[i]);
  tensor.step_size =
      static_cast<float>(learning_rate / (1 - std::pow(options.beta1, options.steps[i])));
  tensor.correction = static_cast<float>(std::sqrt(1 - std::pow(options.beta2, options.steps[i])));
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

Tensor clip(const std::vector<Tensor>& gradients, double max_norm, const Tensor& values) {
  check(values.dtype == DType::kFloat32 && values.is_contiguous(),
        "clip: the values must be contiguous float32, found ", name_of(values.dtype));
  std::vector<FlatTensor> list;
  for (const Tensor& tensor : gradients) {
    check_same_device("clip", {&values, &tensor});
    check_in_place("clip", tensor);
    list.push_back(flat("clip", tensor));
  }
  const Tensor outcome = empty({2}, DType::kFloat32, values.device());
  kernels_of(values).clip(list.data(), static_cast<int64_t>(list.size()), max_norm,
                          values.data<float>(), values.numel(), outcome.data<float>());
  return outcome;
}

Tensor adamw_numbers(const AdamWOptions& options) {
  const size_t count = options.steps.size();
  check_lengths(options, count);
  const Tensor result = empty({static_cast<int64_t>(count), 3}, DType::kFloat32);
  for (size_t i = 0; i < count; ++i) {
    AdamWTensor tensor;
    set_numbers(options, i, tensor);
    float* const numbers = result.data<float>() + 3 * i;
    numbers[0] = tensor.decay;
    numbers[1] = tensor.step_size;
    numbers[2] = tensor.correction;
  }
  return result;
}

void adamw(const std::vector<Tensor>& parameters, const std::vector<Tensor>& gradients,
           const std::vector<Tensor>& exp_avgs, const std::vector<Tensor>& exp_avg_sqs,
           const AdamWOptions& options, const Tensor* outcome, const Tensor* numbers) {
  const size_t count = parameters.size();
  check(gradients.size() == count && exp_avgs.size() == count && exp_avg_sqs.size() == count,
        "adamw: the lists have different lengths");
  check_lengths(options, count);
  if (count == 0) return;
  if (outcome != nullptr) {
    check_same_device("adamw", {&parameters[0], outcome});
    check(outcome->dtype == DType::kFloat32 && outcome->numel() == 2 && outcome->is_contiguous(),
          "adamw: expected an outcome float32 [2], found ", name_of(outcome->dtype), " ",
          shape_of(*outcome));
  }
  if (numbers != nullptr) {
    check_same_device("adamw", {&parameters[0], numbers});
    check(numbers->dtype == DType::kFloat32 && numbers->is_contiguous() &&
              numbers->numel() == static_cast<int64_t>(3 * count) && numbers->device().type == 2,
          "adamw: expected numbers float32 [", count, ", 3] on a GPU, found ",
          name_of(numbers->dtype), " ", shape_of(*numbers));
  }
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
    list[i].parameter = flat("adamw", parameter);
    list[i].gradient = flat("adamw", gradients[i]);
    list[i].exp_avg = exp_avgs[i].data<float>();
    list[i].exp_avg_sq = exp_avg_sqs[i].data<float>();
    set_numbers(options, i, list[i]);
    if (numbers != nullptr) list[i].numbers = numbers->data<float>() + 3 * i;
  }
  kernels_of(parameters[0])
      .adamw(list.data(), static_cast<int64_t>(count), options.beta1, options.beta2,
             static_cast<float>(options.eps),
             outcome == nullptr ? nullptr : outcome->data<float>());
}

}  // namespace fms_accel::ops
