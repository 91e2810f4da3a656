// The board's clock: timer 1, free running at half a microsecond, and a count of its rounds ("epochs").
#pragma once

#include <Arduino.h>
#include <stdint.h>
#include <util/atomic.h>

static_assert(F_CPU == 16000000UL, "the clock counts half microseconds of a 16 MHz board");

const uint8_t TICKS_PER_US = 2;

// An exact time. In ticks alone it would wrap after 36 minutes, and delays may last 71.
struct Moment {
  uint16_t low;   // timer 1
  uint32_t high;  // epochs of 32.768 ms
};

// A length of time in the same units.
typedef Moment Span;

// By halves of 32 bits: an AVR shifts one bit at a time.
inline Span spanOfUs(uint32_t us) {
  const uint16_t low = us;
  const uint32_t high = (us >> 16) << 1 | (low >> 8 & 0x80 ? 1 : 0);
  return {static_cast<uint16_t>(low << 1), high};
}

inline void advance(Moment &moment, const Span &span) {
  const uint16_t low = moment.low + span.low;
  moment.high += span.high + (low < span.low);
  moment.low = low;
}

// Epochs that were counted.
extern volatile uint32_t epoch;

// The moment at which the timer was read just now. Call with interrupts off.
inline Moment momentOf(uint16_t low) {
  // The timer may have begun a round that is not counted yet.
  if ((TIFR1 & _BV(TOV1)) && low < 0x8000) return {low, epoch + 1};
  return {low, epoch};
}

inline Moment momentNow() { return momentOf(TCNT1); }

// Call with interrupts off, more often than once an epoch.
inline void countEpochs() {
  if (!(TIFR1 & _BV(TOV1))) return;
  TIFR1 = _BV(TOV1);
  ++epoch;
}

inline uint32_t ticksOf(const Moment &moment) {
  return (static_cast<uint32_t>(static_cast<uint16_t>(moment.high)) << 16) | moment.low;
}

inline uint32_t usOf(const Moment &moment) {
  return ((moment.high << 16 | moment.low) >> 1) | (moment.high & 0x10000 ? 0x80000000 : 0);
}

inline Moment now() {
  Moment moment;
  ATOMIC_BLOCK(ATOMIC_RESTORESTATE) { moment = momentNow(); }
  return moment;
}

// Microseconds since the start; wraps after 71.6 minutes.
inline uint32_t nowUs() { return usOf(now()); }

// The same for a time stamp in ticks that is younger than 35 minutes.
inline uint32_t usOfTicks(uint32_t ticks) {
  const Moment moment = now();
  return usOf(moment) - ((ticksOf(moment) - ticks) >> 1);
}

inline void clockStart() {
  TIMSK0 = 0;  // the core's millisecond interrupt would only delay edges
  TIMSK1 = 0;
  TCCR1A = 0;  // the core sets up PWM
  TCCR1B = _BV(CS11);
  TCNT1 = 0;
  TIFR1 = 0xFF;
}
