// Inputs: changes are stamped in the pin-change interrupt where the pin has one, else by the main loop.
#pragma once

#include <stdint.h>

#include "limits.h"

struct InputEvent {
  uint8_t line;
  bool level;
  uint32_t us;
};

void inputsStart();
void inputClaim(uint8_t line, uint8_t pin, bool activeHigh, bool pullUp);
void inputRelease(uint8_t line);

// The level that the line has now; it counts as reported.
InputEvent inputFirst(uint8_t line);

// Look at every input, and tell what is to be reported.
void inputsLook(void (*tell)(const InputEvent &event));
