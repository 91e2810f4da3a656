// How long an output was on within its window: coarse, small, and never too little.
#pragma once

#include <stdint.h>

#include "protocol.h"

class Duty {
 public:
  void begin(const Settings &settings, uint32_t nowUs);

  bool limited() const { return limited_; }

  // Count on-time that ended or went on until now.
  void add(uint32_t onUs, uint32_t nowUs);

  // Tell whether so much more fits the budget. Bring `add` up to date before.
  bool allows(uint32_t onUs) const;

  // On-time of a train in its worst window.
  uint32_t worst(uint32_t onUs, uint32_t periodUs, uint32_t count) const;

  // How long a level that begins now may last; only for limited lines whose budget is not spent.
  uint32_t left(uint32_t nowUs) const;

 private:
  void turn(uint32_t nowUs);

  uint32_t slotUs() const { return ((windowUs_ - 1) / DUTY_SLOTS) + 1; }

  uint32_t windowUs_, budgetUs_;
  uint32_t startUs_;  // of the running slot
  uint32_t counts_[DUTY_SLOTS + 1];
  uint32_t used_;  // their sum
  uint8_t running_;  // index of the running slot; the next one is the oldest
  bool limited_;
};
