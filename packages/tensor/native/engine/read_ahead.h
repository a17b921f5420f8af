// Reading matrices before they are asked for. Decoding multiplies by the same weights in the same
// order, token after token, and between two products memory would lie idle: JavaScript runs, or an
// operation too small for several threads. So a product says which matrix it reads, and threads of
// the pool that have nothing to do read what came after it the last time into the caches. No result
// can change by it.
//
// Only memory that is alive is read: a Storage that was announced says so when it ends.
#pragma once
#include "engine/tensor.h"

namespace fms_accel {

// The contiguous `matrix` is going to be read as a whole, now.
void announce_read(const Tensor& matrix);

// Reads a few kilobytes of what is expected next. False when there is nothing to read.
bool read_ahead();

// Forgets everything announced; returns when no thread reads any of it. For ~Storage.
void forget_announced_reads();

}  // namespace fms_accel
