#pragma GCC optimize("O2")

#include "inputs.h"

#include <Arduino.h>

#include "clock.h"
#include "protocol.h"

namespace {

#ifdef PCMSK1
const uint8_t GROUPS = 3;
#else
const uint8_t GROUPS = 1;
#endif
const uint8_t NO_GROUP = 0xFF;

// A group of pins that share a pin-change interrupt. It switches itself off until the main loop has taken its stamp: a
// floating wire must not eat the processor.
struct Group {
  volatile bool changed;
  uint8_t levels;
  uint32_t ticks;
  uint8_t pins;  // of inputs, by their bit in the mask register
};

Group groups[GROUPS];

// What the main loop took from a group in this look.
struct Stamp {
  bool changed;
  uint8_t levels;
  uint32_t us;
};

struct Input {
  volatile uint8_t *pin;
  uint8_t mask;
  uint8_t idle;  // `mask` where the active level is low, else 0
  uint8_t group;
  bool level, reported;
  uint32_t changedUs, reportedUs;
};

Input inputs[LINES];
uint8_t used;  // lines that are inputs

inline void stamp(uint8_t group, uint8_t levels) {
  PCICR &= ~_BV(group);
  groups[group].levels = levels;
  groups[group].ticks = ticksOf(momentNow());
  groups[group].changed = true;
}

// The mask registers lie side by side.
volatile uint8_t &groupMask(uint8_t group) { return (&PCMSK0)[group]; }

void notice(Input &input, bool level, uint32_t us) {
  if (level == input.level) return;
  input.level = level;
  input.changedUs = us;
}

bool due(Input &input, uint32_t us) {
  if (input.level == input.reported || us - input.reportedUs < INPUT_HOLD_US) return false;
  input.reported = input.level;
  input.reportedUs = us;
  return true;
}

inline bool active(const Input &input, uint8_t levels) { return (levels ^ input.idle) & input.mask; }

}  // namespace

// The port whose pins a group holds. A Mega's second group has pin 0 too, which is never a line.
ISR(PCINT0_vect) { stamp(0, PINB); }
#ifdef PINJ
ISR(PCINT1_vect) { stamp(1, PINJ); }
ISR(PCINT2_vect) { stamp(2, PINK); }
#elif defined(PCMSK1)
ISR(PCINT1_vect) { stamp(1, PINC); }
ISR(PCINT2_vect) { stamp(2, PIND); }
#endif

void inputsStart() { PCICR = 0; }

void inputClaim(uint8_t line, uint8_t pin, bool activeHigh, bool pullUp) {
  pinMode(pin, pullUp ? INPUT_PULLUP : INPUT);
  Input &input = inputs[line];
  input.pin = portInputRegister(digitalPinToPort(pin));
  input.mask = digitalPinToBitMask(pin);
  input.idle = activeHigh ? 0 : input.mask;
  input.group = digitalPinToPCICR(pin) ? digitalPinToPCICRbit(pin) : NO_GROUP;
  if (input.group != NO_GROUP) {
    groups[input.group].pins |= _BV(digitalPinToPCMSKbit(pin));
    groupMask(input.group) = groups[input.group].pins;
  }
  used |= _BV(line);
}

void inputRelease(uint8_t line) {
  if (!(used & _BV(line))) return;
  used &= ~_BV(line);
  // Group masks are built anew by the lines that stay or come; a pin too many only costs an idle stamp.
  if (used) return;
  PCICR = 0;
  for (uint8_t at = 0; at < GROUPS; ++at) {
    groups[at].pins = groupMask(at) = 0;
    groups[at].changed = false;
  }
}

InputEvent inputFirst(uint8_t line) {
  Input &input = inputs[line];
  input.level = input.reported = active(input, *input.pin);
  input.changedUs = input.reportedUs = nowUs();
  return {line, input.level, input.changedUs};
}

void inputsLook(void (*tell)(const InputEvent &event)) {
  if (!used) return;
  // Switched on before the pins are read: what changes after the reading will be stamped.
  Stamp stamps[GROUPS];
  for (uint8_t at = 0; at < GROUPS; ++at) {
    Group &group = groups[at];
    stamps[at].changed = false;
    if (group.pins == 0 || (PCICR & _BV(at))) continue;
    if (group.changed) stamps[at] = {true, group.levels, usOfTicks(group.ticks)};
    group.changed = false;
    PCIFR = _BV(at);
    ATOMIC_BLOCK(ATOMIC_RESTORESTATE) { PCICR |= _BV(at); }
  }
  for (uint8_t line = 0; line < LINES; ++line) {
    if (!(used & _BV(line))) continue;
    Input &input = inputs[line];
    // First what the interrupt saw, then what is there now: a short pulse is both.
    if (input.group != NO_GROUP && stamps[input.group].changed) {
      const Stamp &stamp = stamps[input.group];
      notice(input, active(input, stamp.levels), stamp.us);
      if (due(input, nowUs())) tell({line, input.level, input.changedUs});
    }
    const uint32_t us = nowUs();
    notice(input, active(input, *input.pin), us);
    if (due(input, us)) tell({line, input.level, input.changedUs});
  }
}
