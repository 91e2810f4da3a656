#pragma GCC optimize("O2")

#include "duty.h"

#include <string.h>

void Duty::begin(const Settings &settings, uint32_t nowUs) {
  limited_ = settings.maxDuty < 1000;
  windowUs_ = settings.windowUs;
  // window · thousandths / 1000 without 64 bits
  budgetUs_ = windowUs_ / 1000 * settings.maxDuty + windowUs_ % 1000 * settings.maxDuty / 1000;
  startUs_ = nowUs;
  running_ = 0;
  memset(counts_, 0, sizeof counts_);
  used_ = 0;
}

void Duty::add(uint32_t onUs, uint32_t nowUs) {
  turn(nowUs);
  // It may have begun in an earlier slot, by less than one round of the main loop; a later slot forgets it later.
  counts_[running_] += onUs;
  used_ += onUs;
}

bool Duty::allows(uint32_t onUs) const {
  return used_ <= budgetUs_ && onUs <= budgetUs_ - used_;
}

uint32_t Duty::worst(uint32_t onUs, uint32_t periodUs, uint32_t count) const {
  const uint32_t whole = windowUs_ / periodUs;
  if (count <= whole) return count * onUs;
  const uint32_t rest = windowUs_ - whole * periodUs;
  return whole * onUs + (rest < onUs ? rest : onUs);
}

uint32_t Duty::left(uint32_t nowUs) const {
  uint32_t counted = used_;
  uint32_t lasted = 0;
  const uint32_t slot = slotUs();
  uint32_t untilTurn = slot - (nowUs - startUs_);
  uint8_t oldest = running_;
  // Slot by slot: its own time comes in, the oldest slot falls out. Its own slots never do: after eight of them, which
  // are a whole window, any budget is spent.
  for (uint8_t turns = 0; turns <= DUTY_SLOTS; ++turns) {
    const uint32_t rest = budgetUs_ - counted;
    if (rest <= untilTurn) return lasted + rest;
    lasted += untilTurn;
    counted += untilTurn;
    oldest = oldest == DUTY_SLOTS ? 0 : oldest + 1;
    counted -= counts_[oldest];
    untilTurn = slot;
  }
  return lasted;
}

void Duty::turn(uint32_t nowUs) {
  const uint32_t slot = slotUs();
  for (uint8_t turns = 0; nowUs - startUs_ >= slot; ++turns) {
    if (turns > DUTY_SLOTS) {  // everything is older than the window
      startUs_ = nowUs;
      return;
    }
    startUs_ += slot;
    running_ = running_ == DUTY_SLOTS ? 0 : running_ + 1;
    used_ -= counts_[running_];
    counts_[running_] = 0;
  }
}
