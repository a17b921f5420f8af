#include "cpu/gemm_sink.h"

namespace fms_accel::FMS_ACCEL_ISA {
namespace {

// body(vector, offset, lanes) for a row of `columns`.
template <class Body>
FMS_ACCEL_INLINE void for_each_vector(int64_t columns, const Body& body) {
  for (int64_t j = 0; j < columns; j += kLanes) body(j, static_cast<int>(min_of(columns - j, kLanes)));
}

template <class T>
FMS_ACCEL_INLINE Floats load_some(const T* p, int count) {
  return count == kLanes ? load_floats(p) : load_floats(p, count);
}
template <class T>
FMS_ACCEL_INLINE void store_some(T* p, Floats v, int count) {
  if (count == kLanes) store_floats(p, v);
  else store_floats(p, v, count);
}

template <class C>
void add_scaled_row(const C* c, float beta, int64_t columns, float* values) {
  for_each_vector(columns, [&](int64_t j, int count) {
    const Floats sum = add(load_floats(values + j), multiply(broadcast(beta), load_some(c + j, count)));
    store_floats(values + j, sum);
  });
}

template <class T>
void add_row(const T* row, int64_t columns, float* values) {
  for_each_vector(columns, [&](int64_t j, int count) {
    store_floats(values + j, add(load_floats(values + j), load_some(row + j, count)));
  });
}

template <class C>
void store_row(const float* values, int64_t columns, C* c) {
  for_each_vector(columns, [&](int64_t j, int count) { store_some(c + j, load_floats(values + j), count); });
}

template <class C>
C* row_of(const GemmArguments& g, int64_t row, int64_t column) {
  return static_cast<C*>(g.c.data) + row * g.c.row_stride + column;
}

}  // namespace

void finish_tile(const GemmArguments& g, const TilePlace& place, float* values) {
  for (int64_t i = 0; i < place.rows; ++i) {
    float* row = values + i * kTileColumns;
    float* sums = place.sums == nullptr ? nullptr : place.sums + i * place.sums_stride;
    if (g.alpha != 1) {
      for_each_vector(place.columns, [&](int64_t j, int) {
        store_floats(row + j, multiply(broadcast(g.alpha), load_floats(row + j)));
      });
    }
    if (!place.first) {
      add_row(sums, place.columns, row);
    } else {
      if (g.beta != 0) {
        with_floating(g.c.dtype, [&](auto element) {
          using C = decltype(element);
          add_scaled_row(row_of<C>(g, place.row + i, place.column), g.beta, place.columns, row);
        });
      }
      if (g.bias != nullptr) {
        with_floating(g.bias_dtype, [&](auto element) {
          using T = decltype(element);
          add_row(static_cast<const T*>(g.bias) + place.column, place.columns, row);
        });
      }
    }
    if (!place.last) {
      store_row(row, place.columns, sums);
    } else if (g.c.store == nullptr) {
      with_floating(g.c.dtype, [&](auto element) {
        using C = decltype(element);
        store_row(row, place.columns, row_of<C>(g, place.row + i, place.column));
      });
    }
  }
  if (place.last && g.c.store != nullptr) {
    g.c.store(g.c.context, {place.row, place.rows, place.column, place.columns, kTileColumns, values});
  }
}

}  // namespace fms_accel::FMS_ACCEL_ISA
