// Compiled ceilings. The host can lower them line by line, never raise them.
#pragma once

#include <stdint.h>

// Longest time that an output may be asked to stay on.
#ifndef POSELOOP_MAX_ON_US
#define POSELOOP_MAX_ON_US 3600000000UL
#endif

// Shortest and longest lease.
#ifndef POSELOOP_MIN_LEASE_MS
#define POSELOOP_MIN_LEASE_MS 10
#endif
#ifndef POSELOOP_MAX_LEASE_MS
#define POSELOOP_MAX_LEASE_MS 10000
#endif

// Exact at 16 MHz, which 115200 is not.
#ifndef POSELOOP_BAUD
#define POSELOOP_BAUD 1000000UL
#endif

static_assert(POSELOOP_MAX_ON_US <= 3600000000UL, "the protocol's times have 32 bits");
static_assert(POSELOOP_MIN_LEASE_MS >= 1 && POSELOOP_MAX_LEASE_MS <= 65535UL, "a lease has 16 bits");

// A power of two would not do: sets of lines are kept in one byte.
const uint8_t LINES = 8;
