// Graphs of a device: src/cuda-graph.ts.
#include "binding/arguments.h"
#include "cuda/device.h"

namespace fms_accel {

void register_graph(Napi::Env env, Napi::Object exports) {
  // (device, graph to share memory with or 0, random state) -> number of the graph
  define(env, exports, "beginCapture", [](const Arguments& a) -> Napi::Value {
    const Tensor& random_state = a.tensor(2);
    check(random_state.device() == a.device(0) && random_state.dtype == DType::kInt64 &&
              random_state.numel() == 2 && random_state.is_contiguous(),
          "beginCapture: expected a random state int64 [2] on the device");
    return Napi::Number::New(a.napi(), static_cast<double>(cuda::begin_capture(
                                           a.device(0).index, a.integer(1), random_state.raw())));
  });
  define_tensor(env, exports, "emptyOutsideOfGraphs", [](const Arguments& a) {
    const cuda::OutsideOfGraphs outside;
    return empty(a.shape(0), a.dtype(1), a.device(2));
  });
  define(env, exports, "endCapture", [](const Arguments& a) -> Napi::Value {
    const cuda::GraphStatistics statistics = cuda::end_capture(a.device(0).index);
    auto result = Napi::Object::New(a.napi());
    result.Set("kernels", static_cast<double>(statistics.kernels));
    result.Set("nodes", static_cast<double>(statistics.nodes));
    return result;
  });
  define(env, exports, "abortCapture", [](const Arguments& a) {
    cuda::abort_capture(a.device(0).index);
    return a.napi().Undefined();
  });
  define(env, exports, "launchGraph", [](const Arguments& a) {
    cuda::launch_graph(a.device(0).index, a.integer(1));
    return a.napi().Undefined();
  });
  define(env, exports, "releaseGraph", [](const Arguments& a) {
    cuda::release_graph(a.device(0).index, a.integer(1));
    return a.napi().Undefined();
  });
}

}  // namespace fms_accel
