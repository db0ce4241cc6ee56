// Ends what level_begin.h began.
#if !defined(__clang__)
#pragma GCC pop_options
#elif PERCBAL_TARGET_BYTES > 16
#pragma clang attribute pop
#endif
