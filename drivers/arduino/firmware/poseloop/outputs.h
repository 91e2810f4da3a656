// Outputs: every edge is made by the timer interrupt (or with interrupts off), at a time that was fixed before.
#pragma once

#include <Arduino.h>
#include <stdint.h>

#include "clock.h"
#include "limits.h"
#include "protocol.h"

// What happened at a pin, for the host. `level` is read back from the pin.
struct Report {
  uint8_t line;
  bool level;
  uint8_t cause;  // the limit that cut a level, else 0; `FRAME` = a camera's trigger
  uint16_t seq;
  uint32_t ticks;
  uint32_t number;  // FRAME: of the trigger, from 0
};

// What a line is to do: one value for all kinds of commands.
struct Order {
  uint8_t kind;
  uint8_t cause;  // LEVEL: the limit that will cut it
  uint16_t seq;
  uint32_t delayUs;
  uint32_t onUs;      // for LEVEL until it is cut, for SYNC the length of a bit
  uint32_t periodUs;  // start to start; 0 for a single pulse
  uint32_t count;     // 0 = without end
  uint32_t code;      // SYNC
};

void outputsStart();

// For the main loop: see that the lines go on being looked at. A match that is missed (edges were made one after the
// other for longer than it was ahead; the emulator may also lose one while the timer's other match is written) comes a
// whole round of the timer later, and until then what is on would stay on.
void outputsGoOn();

// Take a pin over at its safe level. The line must be free. `limited`: its on-time is to be counted.
void outputClaim(uint8_t line, uint8_t pin, bool activeHigh, bool limited);

// Kind of the running command; 0 = the line is free.
uint8_t outputKind(uint8_t line);

// Begin what was ordered at `arrived` plus its delay; at once where that has passed.
void outputBegin(uint8_t line, const Order &order, const Moment &arrived);

// End whatever the lines of a set do, now. Their last edges are reported with `seq`.
void outputsEnd(uint8_t lines, uint16_t seq);

// On-time since the last call, running pulses included.
uint32_t outputSpentUs(uint8_t line);

// Take the oldest report; false = there is none.
bool outputsTake(Report &report);

// Reports for which there was no room since the start; stays at 65535.
uint16_t outputsLost();
