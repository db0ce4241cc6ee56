// The cross-entropy kernels for every processor.
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "core/losses/cross_entropy_row.h"
#include "core/simd/float16.h"

#define PERCBAL_LEVEL portable
#define PERCBAL_VECTOR_BYTES 16
#include "core/simd/simd.h"
// in this order: each builds on the one before
#include "core/simd/simd_memory.h"
#include "core/losses/cross_entropy_rows.h"
#include "core/losses/cross_entropy_general.h"
#include "core/losses/cross_entropy_level.h"
