#include "ops/indexing.h"

#include "binding/arguments.h"

namespace fms_accel {

void register_indexing(Napi::Env env, Napi::Object exports) {
  define_tensor(env, exports, "embedding",
                [](const Arguments& a) { return ops::embedding(a.tensor(0), a.tensor(1)); });
  define_tensor(env, exports, "embeddingGradient", [](const Arguments& a) {
    return ops::embedding_gradient(a.tensor(0), a.tensor(1), a.integer(2), a.integer(3),
                                   a.dtype(4));
  });
  define_tensor(env, exports, "indexSelect", [](const Arguments& a) {
    return ops::index_select(a.tensor(0), a.integer(1), a.tensor(2));
  });
  define_tensor(env, exports, "indexAdd", [](const Arguments& a) {
    return ops::index_add(a.tensor(0), a.integer(1), a.tensor(2), a.tensor(3));
  });
  define_tensor(env, exports, "addWeightedRows", [](const Arguments& a) {
    return ops::add_weighted_rows(a.tensor(0), a.optional_tensor(1), a.tensor(2), a.integer(3),
                                  a.dtype(4));
  });
  define(env, exports, "weightedRowsGradients", [](const Arguments& a) -> Napi::Value {
    const auto [source, weights] = ops::weighted_rows_gradients(
        a.tensor(0), a.tensor(1), a.tensor(2), a.tensor(3), a.boolean(4), a.boolean(5));
    Napi::Array result = Napi::Array::New(a.napi(), 2);
    if (source.storage) result.Set(0u, a.environment().emit(source));
    if (weights.storage) result.Set(1u, a.environment().emit(weights));
    return result;
  });
  define_tensor(env, exports, "gather", [](const Arguments& a) {
    return ops::gather(a.tensor(0), a.integer(1), a.tensor(2));
  });
  define_tensor(env, exports, "scatterAdd", [](const Arguments& a) {
    return ops::scatter_add(a.tensor(0), a.integer(1), a.tensor(2), a.tensor(3));
  });
  define(env, exports, "groupRows", [](const Arguments& a) {
    const ops::RowGroups groups = ops::group_rows(a.tensor(0), a.integer(1));
    return a.handles({groups.order, groups.offsets});
  });
  define_tensor(env, exports, "topkIndices", [](const Arguments& a) {
    return ops::order("topk", a.tensor(0), a.integer(1), a.integer(2), true);
  });
  define_tensor(env, exports, "sortIndices", [](const Arguments& a) {
    const Tensor& x = a.tensor(0);
    const int64_t dim = a.integer(1);
    check(dim >= -x.ndim && dim < x.ndim, "sort: dimension ", dim, " is out of range for ", x.ndim,
          " dimensions");
    return ops::order("sort", x, dim, x.size(static_cast<int>(dim)), a.boolean(2));
  });
}

}  // namespace fms_accel
